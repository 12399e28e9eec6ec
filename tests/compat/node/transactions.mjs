// What a program does with transactions: rounds of records, every third of which is aborted; a copy of what is
// committed to <topic>-copy, with the offsets in the same transactions; and a producer that is replaced by another.

import kafkajs from "kafkajs";

import { QUICK } from "./work.mjs";

const { Partitioners } = kafkajs;

async function producerOf(kafka, transactionalId) {
  const producer = kafka.producer({
    transactionalId,
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  return producer;
}

const lineOf = (partition, message) => ({
  partition,
  offset: Number(message.offset),
  key: message.key?.toString() ?? "",
  value: message.value.toString(),
});

async function rounds(kafka, o, found) {
  const producer = await producerOf(kafka, o.topic);
  for (let round = 0; round < o.count; round++) {
    const transaction = await producer.transaction();
    const messages = [];
    for (let i = 0; i < 2 * o.partitions; i++) messages.push({ key: `${round}-${i}`, value: `v${round}-${i}` });
    await transaction.send({ topic: o.topic, messages });
    const commits = round % 3 !== 2;
    await (commits ? transaction.commit() : transaction.abort());
    const lines = messages.map(({ key, value }) => ({ key, value }));
    (commits ? found.committed : found.aborted).push(...lines);
  }
  await producer.disconnect();
}

// Everything that a reader sees until it has seen `count` records.
async function readTopic(kafka, topic, count, readUncommitted) {
  const groupId = `${topic}-${readUncommitted ? "all" : "stable"}`;
  const consumer = kafka.consumer({ groupId, readUncommitted, ...QUICK });
  const seen = [];
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer
      .run({
        eachMessage: async ({ partition, message }) => {
          seen.push(lineOf(partition, message));
          if (seen.length === count) resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  return seen;
}

async function copies(kafka, o, found) {
  const groupId = `${o.topic}-copiers`;
  const consumer = kafka.consumer({ groupId, ...QUICK });
  const producer = await producerOf(kafka, `${o.topic}-copier`);
  await consumer.connect();
  await consumer.subscribe({ topics: [o.topic], fromBeginning: true });
  let copied = 0;
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer
      .run({
        autoCommit: false,
        eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
          const messages = batch.messages.map(({ key, value }) => ({ key, value }));
          if (!messages.length) return;
          // The first batch is aborted once, and done again.
          for (const commits of found.group_rounds ? [true] : [false, true]) {
            const transaction = await producer.transaction();
            await transaction.send({ topic: `${o.topic}-copy`, messages });
            const offset = String(Number(batch.lastOffset()) + 1);
            await transaction.sendOffsets({
              consumerGroupId: groupId,
              topics: [{ topic: o.topic, partitions: [{ partition: batch.partition, offset }] }],
            });
            await (commits ? transaction.commit() : transaction.abort());
            found.group_rounds++;
          }
          resolveOffset(batch.lastOffset());
          await heartbeat();
          copied += messages.length;
          if (copied === found.committed.length) resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  await producer.disconnect();
}

async function fences(kafka, o, found) {
  const message = { topic: o.topic, messages: [{ value: "zombie" }] };
  const first = await producerOf(kafka, `${o.topic}-fenced`);
  const lost = await first.transaction();
  await lost.send(message);
  const second = await producerOf(kafka, `${o.topic}-fenced`);
  const kept = await second.transaction();
  await kept.send(message);
  try {
    await lost.send(message);
    await lost.commit();
    found.fenced = "NONE";
  } catch (error) {
    found.fenced = error.type ?? error.name;
  }
  await kept.abort();
}

export async function transactions(kafka, o) {
  const found = { committed: [], aborted: [], group_rounds: 0 };
  await rounds(kafka, o, found);
  const all = found.committed.length + found.aborted.length;
  found.read_stable = await readTopic(kafka, o.topic, found.committed.length, false);
  found.read_all = await readTopic(kafka, o.topic, all, true);
  await copies(kafka, o, found);
  found.copied = await readTopic(kafka, `${o.topic}-copy`, found.committed.length, false);
  await fences(kafka, o, found);
  return found;
}
