"""Kafka's error codes."""

from kafka import errors as kafka_python_errors

from tidelog.protocol.error_codes import ErrorCode

# kafka-python keeps some older or shorter names.
RENAMED = {
    "UNKNOWN_SERVER_ERROR": "UnknownError",
    "NONE": "NoError",
    "CORRUPT_MESSAGE": "CorruptRecordException",
    "INVALID_FETCH_SIZE": "InvalidFetchRequestError",
    "NOT_LEADER_OR_FOLLOWER": "NotLeaderForPartitionError",
    "MESSAGE_TOO_LARGE": "MessageSizeTooLargeError",
    "UNSUPPORTED_VERSION": "IncompatibleBrokerVersion",
    "INVALID_REPLICA_ASSIGNMENT": "InvalidReplicationAssignmentError",
    "INVALID_CONFIG": "InvalidConfigurationError",
}


def test_all_of_4_3_are_there() -> None:
    assert [int(code) for code in ErrorCode] == list(range(-1, 134))


def test_numbers_and_flags() -> None:
    assert int(ErrorCode.UNKNOWN_SERVER_ERROR) == -1
    assert int(ErrorCode.NONE) == 0
    assert ErrorCode(3) is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert ErrorCode.NOT_LEADER_OR_FOLLOWER.retriable
    assert not ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER.retriable


def test_each_has_a_text_of_its_own() -> None:
    assert len({code.text for code in ErrorCode}) == len(ErrorCode)
    assert all(code.text.endswith(".") for code in ErrorCode)


def test_names_agree_with_kafka_python() -> None:
    theirs = {
        error.errno: name
        for name, error in vars(kafka_python_errors).items()
        if isinstance(error, type)
        and issubclass(error, kafka_python_errors.BrokerResponseError)
        and error.errno is not None
    }
    known = {code: theirs[int(code)] for code in ErrorCode if int(code) in theirs}
    assert len(known) > 90

    def plain(name: str) -> str:
        return name.replace("_", "").lower().removesuffix("error").removesuffix("exception")

    different = {code.name: name for code, name in known.items() if plain(code.name) != plain(name)}
    assert different == RENAMED
