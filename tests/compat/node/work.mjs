// What a program does with records, for one codec: half of them in one `send` with default settings, half in
// several at once by an idempotent producer; then read by two members of a group, one after the other.

import kafkajs from "kafkajs";

import { CODECS } from "./codecs.mjs";

const { CompressionTypes } = kafkajs;
const RECORD_TIME_MS = 1_700_000_000_000;
const LARGEST_PADDING = 4000;
const SENDS = 5;
// kafkajs leaves a group only after its last fetch, which waits for up to five seconds by default.
export const QUICK = { maxWaitTimeInMs: 100 };

// A value that compresses well; the pytest side builds the same.
const padded = (i) => `v${i} ` + "tide".repeat(Math.floor(((i * 97) % LARGEST_PADDING) / 4));

function messagesOf(count) {
  const messages = [];
  for (let i = 0; i < count; i++) {
    messages.push({
      key: `k${i}`,
      value: padded(i),
      headers: { number: String(i) },
      timestamp: String(RECORD_TIME_MS + i),
    });
  }
  messages[count - 1].key = null;
  messages[count - 2].value = null;
  return messages;
}

const answersOf = (answers) =>
  answers.map(({ partition, errorCode, baseOffset }) => ({ partition, error: errorCode, offset: Number(baseOffset) }));

async function write(kafka, o) {
  const messages = messagesOf(o.count);
  const half = Math.floor(o.count / 2);
  const compression = CODECS[o.codec] ?? CompressionTypes.None;
  const plain = kafka.producer();
  await plain.connect();
  const settings = o.codec === "default" ? {} : { compression };
  const first = await plain.send({ topic: o.topic, messages: messages.slice(0, half), ...settings });
  await plain.disconnect();

  const idempotent = kafka.producer({ idempotent: true, maxInFlightRequests: 5 });
  await idempotent.connect();
  const size = Math.ceil((o.count - half) / SENDS);
  const sends = [];
  for (let at = half; at < o.count; at += size) {
    sends.push(idempotent.send({ topic: o.topic, messages: messages.slice(at, at + size), ...settings }));
  }
  const rest = await Promise.all(sends);
  await idempotent.disconnect();
  return { first: answersOf(first), rest: rest.map(answersOf) };
}

const lineOf = (partition, message) => ({
  partition,
  offset: Number(message.offset),
  key: message.key?.toString() ?? "",
  value: message.value?.toString() ?? "",
  no_key: message.key === null,
  no_value: message.value === null,
  timestamp: Number(message.timestamp),
  headers: Object.fromEntries(Object.entries(message.headers).map(([name, value]) => [name, value.toString()])),
});

// Reads `count` records as the one member of a group and leaves. With `commitBySelf` it commits just these,
// else kafkajs commits by itself, as it does by default.
export async function asMember(kafka, topic, groupId, count, commitBySelf, settings) {
  const consumer = kafka.consumer({ groupId, ...settings });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const lines = [];
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer
      .run({
        autoCommit: !commitBySelf,
        eachMessage: async ({ partition, message }) => {
          if (lines.length >= count) return;
          lines.push(lineOf(partition, message));
          if (lines.length === count) resolve();
        },
      })
      .catch(reject);
  });
  if (commitBySelf) {
    const next = new Map();
    for (const { partition, offset } of lines) next.set(partition, offset + 1);
    await consumer.commitOffsets([...next].map(([partition, offset]) => ({ topic, partition, offset: String(offset) })));
  }
  await consumer.disconnect();
  return lines;
}

export async function committed(admin, groupId, topic) {
  const [found] = await admin.fetchOffsets({ groupId, topics: [topic] });
  return Object.fromEntries(found.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
}

export async function work(kafka, o) {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: o.topic, numPartitions: o.partitions, replicationFactor: 1 }] });
  const written = await write(kafka, o);
  const ends = await admin.fetchTopicOffsets(o.topic);
  const groupId = `${o.topic}-group`;
  const half = Math.floor(o.count / 2);
  const settings = o.codec === "default" ? {} : QUICK;
  const first = await asMember(kafka, o.topic, groupId, half, true, settings);
  const afterFirst = await committed(admin, groupId, o.topic);
  const second = await asMember(kafka, o.topic, groupId, o.count - half, false, settings);
  const afterSecond = await committed(admin, groupId, o.topic);
  await admin.disconnect();
  return {
    written,
    first,
    second,
    committed: afterFirst,
    committed_last: afterSecond,
    starts: Object.fromEntries(ends.map(({ partition, low }) => [partition, Number(low)])),
    ends: Object.fromEntries(ends.map(({ partition, high }) => [partition, Number(high)])),
  };
}
