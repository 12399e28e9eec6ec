"""A Kafka Streams application with exactly-once processing, and an ordeal for it and the broker."""
