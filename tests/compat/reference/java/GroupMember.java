// A member of a consumer group; tells on standard output what tests/clients/group_member.py says.
//
//   GroupMember --bootstrap B --topic T --group G --protocol classic|consumer --assignor A [--instance I]
//
// With --first N instead: N times a new consumer with default settings in a group of its own; prints the
// milliseconds from subscribe() to its first record, a line of JSON {"ms": ..., "assigned_ms": ...} each.

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public final class GroupMember {
    private static final Map<String, String> ASSIGNORS = Map.of(
            "range", "org.apache.kafka.clients.consumer.RangeAssignor",
            "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "sticky", "org.apache.kafka.clients.consumer.StickyAssignor",
            "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private final KafkaConsumer<String, String> consumer;
    private final Map<TopicPartition, OffsetAndMetadata> pending = new HashMap<>();
    private final TreeSet<Integer> owned = new TreeSet<>();

    private GroupMember(Properties settings) {
        consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private static synchronized void emit(String event, String fields) {
        System.out.println("{\"e\":\"" + event + "\",\"t\":" + System.currentTimeMillis() + fields + "}");
        System.out.flush();
    }

    private void tell(String event) {
        emit(event, ",\"g\":" + consumer.groupMetadata().generationId() + ",\"p\":" + List.copyOf(owned));
    }

    private void commit() {
        if (pending.isEmpty()) return;
        Map<TopicPartition, OffsetAndMetadata> offsets = Map.copyOf(pending);
        pending.clear();
        try {
            consumer.commitSync(offsets);
        } catch (KafkaException refused) {
            return; // Somebody else has the partitions now.
        }
        offsets.forEach((partition, offset) ->
                emit("committed", ",\"p\":" + partition.partition() + ",\"o\":" + offset.offset()));
    }

    private final class Listener implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(each -> owned.add(each.partition()));
            tell("assigned");
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            commit();
            partitions.forEach(each -> owned.remove(each.partition()));
            tell("revoked");
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            pending.clear();
            partitions.forEach(each -> owned.remove(each.partition()));
            tell("lost");
        }
    }

    private void run(String topic) throws Exception {
        Thread stop = new Thread(() -> {
            try {
                System.in.read();
            } catch (java.io.IOException ended) {
                // The same as its end.
            }
        });
        stop.setDaemon(true);
        stop.start();
        emit("subscribing", "");
        consumer.subscribe(List.of(topic), new Listener());
        while (stop.isAlive()) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(50));
            for (TopicPartition partition : records.partitions()) {
                List<String> values = records.records(partition).stream().map(ConsumerRecord::value).toList();
                emit("read", ",\"p\":" + partition.partition() + ",\"v\":" + values);
                List<ConsumerRecord<String, String>> all = records.records(partition);
                pending.put(partition, new OffsetAndMetadata(all.get(all.size() - 1).offset() + 1));
            }
            commit();
        }
        consumer.close();
        emit("closed", "");
    }

    private static void first(Properties settings, String topic, int count) {
        for (int i = 0; i < count; i++) {
            settings.put("group.id", "first-" + UUID.randomUUID());
            GroupMember member = new GroupMember(settings);
            AtomicLong assigned = new AtomicLong();
            long began = System.nanoTime();
            member.consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    if (!partitions.isEmpty()) assigned.compareAndSet(0, System.nanoTime());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}
            });
            while (member.consumer.poll(Duration.ofSeconds(30)).isEmpty()) {}
            long ended = System.nanoTime();
            System.out.println("{\"ms\":" + (ended - began) / 1e6 + ",\"assigned_ms\":" + (assigned.get() - began) / 1e6 + "}");
            member.consumer.close();
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> o = new HashMap<>();
        for (int i = 0; i + 1 < words.length; i += 2) o.put(words[i], words[i + 1]);
        String protocol = o.getOrDefault("--protocol", "classic");
        String assignor = o.getOrDefault("--assignor", "");
        Properties settings = new Properties();
        settings.put("bootstrap.servers", o.get("--bootstrap"));
        settings.put("group.protocol", protocol);
        settings.put("auto.offset.reset", "earliest");
        if (o.containsKey("--first")) {
            first(settings, o.get("--topic"), Integer.parseInt(o.get("--first")));
            return;
        }
        settings.put("group.id", o.get("--group"));
        settings.put("enable.auto.commit", "false");
        if (protocol.equals("classic")) {
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "300");
            settings.put("partition.assignment.strategy", ASSIGNORS.get(assignor));
        } else if (!assignor.isEmpty()) {
            settings.put("group.remote.assignor", assignor);
        }
        if (o.containsKey("--instance")) settings.put("group.instance.id", o.get("--instance"));
        new GroupMember(settings).run(o.get("--topic"));
    }
}
