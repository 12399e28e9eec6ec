"""Kafka's wire protocol: tables of all messages, and the codec that reads and writes them.

    api          ApiKey: versions, flexible versions, listener of each API
    messages/    one module per API: its request and response as annotated classes
    records/     keys and values of the internal topics' records
    codec        decode_request, encode_response_frame and so on; start there
    headers      request and response headers
    frames       cutting a stream of bytes into frames
    error_codes  Kafka's error codes
    schema       the language of the tables
    versions     ranges of versions

Nothing in here does I/O or knows what a message means.
"""
