// A member of a consumer group; tells on standard output what tests/clients/group_member.py says. kafkajs has
// neither static members nor callbacks of a rebalance: its events say when it joined and when it is told to join again.
// Its round robin has a name of its own, "RoundRobinAssigner", so that it shares groups with its like only.

const emit = (e, fields = {}) => process.stdout.write(`${JSON.stringify({ e, t: Date.now(), ...fields })}\n`);

export async function member(kafka, o) {
  const consumer = kafka.consumer({
    groupId: o.group,
    sessionTimeout: 6000,
    heartbeatInterval: 300,
    maxWaitTimeInMs: 100,
    retry: { retries: 100 },
  });
  let owned = [];
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    owned = [...(payload.memberAssignment[o.topic] ?? [])].sort((a, b) => a - b);
    emit("assigned", { g: null, p: owned });
  });
  consumer.on(consumer.events.REBALANCING, () => emit("revoked", { g: null, p: (owned = []) }));
  consumer.on(consumer.events.COMMIT_OFFSETS, ({ payload }) => {
    for (const { partitions } of payload.topics) {
      for (const { partition, offset } of partitions) emit("committed", { p: partition, o: Number(offset) });
    }
  });
  const stopped = new Promise((resolve) => {
    process.stdin.once("data", resolve);
    process.stdin.once("end", resolve);
  });
  await consumer.connect();
  emit("subscribing");
  await consumer.subscribe({ topics: [o.topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
      emit("read", { p: batch.partition, v: batch.messages.map(({ value }) => Number(value.toString())) });
      const offset = String(Number(batch.lastOffset()) + 1);
      resolveOffset(batch.lastOffset());
      await consumer.commitOffsets([{ topic: o.topic, partition: batch.partition, offset }]);
      await heartbeat();
    },
  });
  await stopped;
  await consumer.disconnect();
  emit("closed");
}
