import java.time.Duration;
import java.util.Arrays;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * An application with exactly-once processing: it moves money between accounts and counts words.
 *
 * Arguments: bootstrap servers, application id, state directory. It reads "transfers" (key: a bank,
 * value: "from to amount") and writes the new balances of both accounts to "balances", into the
 * partition of the bank's number; it reads "lines" and writes the count of every word to "counts".
 */
public final class MoneyAndWords {
    private static final String STORE = "accounts";

    private static final class Bank implements Processor<String, String, String, String> {
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, Long> accounts;

        @Override
        public void init(ProcessorContext<String, String> context) {
            this.context = context;
            this.accounts = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, String> record) {
            String[] words = record.value().split(" ");
            long amount = Long.parseLong(words[2]);
            change(record, record.key() + "/" + words[0], -amount);
            change(record, record.key() + "/" + words[1], amount);
        }

        private void change(Record<String, String> record, String account, long by) {
            Long before = accounts.get(account);
            long now = (before == null ? 0 : before) + by;
            accounts.put(account, now);
            context.forward(record.withKey(account).withValue(Long.toString(now)));
        }
    }

    /** "3/7" is account 7 of bank 3, and bank 3 has partition 3. */
    private static final class ByBank implements StreamPartitioner<String, String> {
        @Override
        public Optional<Set<Integer>> partitions(String topic, String key, String value, int count) {
            return Optional.of(Set.of(Integer.parseInt(key.substring(0, key.indexOf('/'))) % count));
        }
    }

    private static StreamsBuilder topology() {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
            Stores.inMemoryKeyValueStore(STORE), Serdes.String(), Serdes.Long()));
        builder.stream("transfers", Consumed.with(Serdes.String(), Serdes.String()))
            .process(Bank::new, STORE)
            .to("balances", Produced.with(Serdes.String(), Serdes.String()).withStreamPartitioner(new ByBank()));
        builder.stream("lines", Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore("words"))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
            .toStream()
            .mapValues(count -> Long.toString(count))
            .to("counts", Produced.with(Serdes.String(), Serdes.String()));
        return builder;
    }

    public static void main(String[] args) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[2]);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        // Who dies is to be missed soon.
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6000);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 1000);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), 10000);
        KafkaStreams streams = new KafkaStreams(topology().build(), config);
        streams.setUncaughtExceptionHandler(error -> {
            System.err.println("replaced: " + error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        streams.start();
    }
}
