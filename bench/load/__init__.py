"""Load on whole brokers: any that speaks Kafka's protocol, through the native load generator."""
