"""Oracles of the wire protocol: builders of random messages, a plain Python twin of the codec, and
comparisons with the independent codecs of kio and kafka-python."""
