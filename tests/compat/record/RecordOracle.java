import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ScheduledFuture;
import java.util.function.Supplier;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.Records;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.server.common.RequestLocal;
import org.apache.kafka.server.storage.log.FetchIsolation;
import org.apache.kafka.server.util.Scheduler;
import org.apache.kafka.storage.internals.epoch.LeaderEpochFileCache;
import org.apache.kafka.storage.internals.log.AbortedTxn;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.EpochEntry;
import org.apache.kafka.storage.internals.log.LogAppendInfo;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogDirFailureChannel;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.RecordValidationException;
import org.apache.kafka.storage.internals.log.TransactionIndex;
import org.apache.kafka.storage.internals.log.TxnIndexSearchResult;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.apache.kafka.storage.internals.log.VerificationGuard;
import org.apache.kafka.storage.log.metrics.BrokerTopicStats;

/**
 * One partition log of the reference broker, without a broker around it. Orders on standard input,
 * answers on standard output; both are written and read by oracle.py, which says what they are.
 */
public final class RecordOracle {
    private static final long[] NOW = {0};

    private static final Time CLOCK = new Time() {
        @Override public long milliseconds() { return NOW[0]; }
        @Override public long nanoseconds() { return NOW[0] * 1_000_000L; }
        @Override public void sleep(long ms) { NOW[0] += ms; }
        @Override public void waitObject(Object o, Supplier<Boolean> c, long d) { }
    };

    private static final Scheduler NEVER = new Scheduler() {
        @Override public void startup() { }
        @Override public void shutdown() { }
        @Override public ScheduledFuture<?> schedule(String n, Runnable r, long d, long p) { return null; }
        @Override public void resizeThreadPool(int size) { }
    };

    private static UnifiedLog log;
    private static File directory;

    public static void main(String[] args) throws Exception {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        Path root = Path.of(args[0]);
        int made = 0;
        while (true) {
            byte order;
            try {
                order = in.readByte();
            } catch (EOFException end) {
                return;
            }
            switch (order) {
                case 'N' -> open(root.resolve("log" + made++), in);
                case 'A' -> append(in, out);
                case 'S' -> snapshot(out);
                case 'X' -> log.removeExpiredProducers(in.readLong());
                case 'L' -> leaderEpochs(in, out);
                case 'T' -> transactionIndex(root.resolve("txn" + made++), in, out);
                default -> throw new IOException("no such order: " + order);
            }
            out.writeByte('.');
            out.flush();
        }
    }

    private static void open(Path parent, DataInputStream in) throws IOException {
        int expirationMs = in.readInt();
        boolean verify = in.readBoolean();
        Map<String, String> configs = new HashMap<>();
        for (int left = in.readInt(); left > 0; left--) configs.put(in.readUTF(), in.readUTF());
        if (log != null) log.closeHandlers();
        directory = parent.resolve("t-0").toFile();
        Files.createDirectories(directory.toPath());
        log = UnifiedLog.create(directory, new LogConfig(configs), 0L, 0L, NEVER, new BrokerTopicStats(),
            CLOCK, 900_000, new ProducerStateManagerConfig(expirationMs, verify), 600_000,
            new LogDirFailureChannel(1), true, Optional.empty());
    }

    private static void append(DataInputStream in, DataOutputStream out) throws IOException {
        short apiVersion = in.readShort();
        NOW[0] = in.readLong();
        int leaderEpoch = in.readInt();
        AppendOrigin origin = AppendOrigin.values()[in.readByte()];
        short transactionVersion = in.readShort();
        byte[] data = new byte[in.readInt()];
        in.readFully(data);
        try {
            MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(data));
            if (origin == AppendOrigin.CLIENT) ProduceRequest.validateRecords(apiVersion, records);
            long before = log.logEndOffset();
            LogAppendInfo info = log.appendAsLeader(records, leaderEpoch, origin, RequestLocal.noCaching(),
                VerificationGuard.SENTINEL, transactionVersion);
            out.writeShort(0);
            out.writeLong(info.firstOffset());
            out.writeLong(info.lastOffset());
            out.writeLong(info.logAppendTime());
            byte[] stored = new byte[0];
            if (log.logEndOffset() > before) {
                Records read = log.read(before, Integer.MAX_VALUE, FetchIsolation.LOG_END, true).records;
                ByteBuffer buffer = ByteBuffer.allocate(read.sizeInBytes());
                ((org.apache.kafka.common.record.internal.FileRecords) read).readInto(buffer, 0);
                stored = buffer.array();
            }
            out.writeInt(stored.length);
            out.write(stored);
        } catch (RecordValidationException refused) {
            out.writeShort(Errors.forException(refused.invalidException()).code());
            out.writeUTF(clip(refused.invalidException()));
            out.writeInt(refused.recordErrors().size());
            for (var one : refused.recordErrors()) {
                out.writeInt(one.batchIndex);
                out.writeUTF(one.message == null ? "" : one.message);
            }
        } catch (RuntimeException refused) {
            out.writeShort(Errors.forException(refused).code());
            out.writeUTF(clip(refused));
            out.writeInt(0);
        }
    }

    /** Steps on the log's epoch cache; then its entries, and every look-up in a range. */
    private static void leaderEpochs(DataInputStream in, DataOutputStream out) throws IOException {
        LeaderEpochFileCache cache = log.leaderEpochCache();
        cache.clearAndFlush();
        for (int left = in.readInt(); left > 0; left--) {
            byte step = in.readByte();
            int epoch = in.readInt();
            long offset = in.readLong();
            switch (step) {
                case 'a' -> cache.assign(epoch, offset);
                case 'e' -> cache.truncateFromEndAsyncFlush(offset);
                case 's' -> cache.truncateFromStartAsyncFlush(offset);
                default -> throw new IOException("no such step: " + step);
            }
        }
        List<EpochEntry> entries = cache.epochEntries();
        out.writeInt(entries.size());
        for (EpochEntry entry : entries) {
            out.writeInt(entry.epoch());
            out.writeLong(entry.startOffset());
        }
        int epochs = in.readInt();
        long logEndOffset = in.readLong();
        for (int epoch = -1; epoch < epochs; epoch++) {
            Map.Entry<Integer, Long> end = cache.endOffsetFor(epoch, logEndOffset);
            out.writeInt(end.getKey());
            out.writeLong(end.getValue());
        }
        for (long offset = 0; offset < logEndOffset; offset++)
            out.writeInt(cache.epochForOffset(offset).orElse(-1));
    }

    /** Entries into a transaction index; then a search, and the file's bytes after a truncation. */
    private static void transactionIndex(Path folder, DataInputStream in, DataOutputStream out)
        throws IOException {
        Files.createDirectories(folder);
        Path file = folder.resolve("00000000000000000000.txnindex");
        try (TransactionIndex index = new TransactionIndex(0L, file.toFile())) {
            for (int left = in.readInt(); left > 0; left--)
                index.append(new AbortedTxn(in.readLong(), in.readLong(), in.readLong(), in.readLong()));
            TxnIndexSearchResult found = index.collectAbortedTxns(in.readLong(), in.readLong());
            out.writeBoolean(found.isComplete());
            out.writeInt(found.abortedTransactions().size());
            for (AbortedTxn one : found.abortedTransactions()) out.writeLong(one.lastOffset());
            index.truncateTo(in.readLong());
            index.flush();
        }
        byte[] data = Files.exists(file) ? Files.readAllBytes(file) : new byte[0];
        out.writeInt(data.length);
        out.write(data);
    }

    private static String clip(Throwable error) {
        String text = error.toString();
        return text.length() > 300 ? text.substring(0, 300) : text;
    }

    private static void snapshot(DataOutputStream out) throws IOException {
        log.producerStateManager().takeSnapshot();
        Path file = directory.toPath().resolve(String.format("%020d.snapshot", log.logEndOffset()));
        byte[] data = Files.exists(file) ? Files.readAllBytes(file) : new byte[0];
        out.writeInt(data.length);
        out.write(data);
    }
}
