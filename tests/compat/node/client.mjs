// A small client of kafkajs for the compat suite; the same commands as ../go/main.go.
//
//   client produce  --bootstrap B --topic T --codec C --count N --placement given|key --partitions P
//   client consume  --bootstrap B --topic T --count N --group G
//   client admin    --bootstrap B --action create|list|delete --topic T --partitions P
//   client work     --bootstrap B --topic T --codec C --count N --partitions P   (work.mjs)
//   client apis     --bootstrap B --topic T --partitions P                       (apis.mjs)
//   client transactions --bootstrap B --topic T --partitions P --count ROUNDS    (transactions.mjs)
//   client member   --bootstrap B --topic T --group G                            (member.mjs)

import { parseArgs } from "node:util";

import kafkajs from "kafkajs";

import { apis } from "./apis.mjs";
import { CODECS } from "./codecs.mjs";
import { member } from "./member.mjs";
import { transactions } from "./transactions.mjs";
import { QUICK, work } from "./work.mjs";

const { Kafka, Partitioners, logLevel } = kafkajs;

const emit = (value) => console.log(JSON.stringify(value));
const printed = (command) => async (kafka, o) => emit(await command(kafka, o));

async function produce(kafka, o) {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const messages = [];
  for (let i = 0; i < o.count; i++) {
    const message = { key: `k${i}`, value: `v${i}` };
    if (o.placement === "given") message.partition = i % o.partitions;
    messages.push(message);
  }
  await producer.send({ topic: o.topic, messages, compression: CODECS[o.codec] });
  await producer.disconnect();
}

async function consume(kafka, o) {
  const consumer = kafka.consumer({ groupId: o.group, ...QUICK });
  await consumer.connect();
  await consumer.subscribe({ topics: [o.topic], fromBeginning: true });
  let seen = 0;
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer
      .run({
        eachMessage: async ({ partition, message }) => {
          if (seen >= o.count) return;
          emit({
            partition,
            offset: Number(message.offset),
            key: message.key.toString(),
            value: message.value.toString(),
          });
          if (++seen === o.count) resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
}

async function admin(kafka, o) {
  const client = kafka.admin();
  await client.connect();
  if (o.action === "create") {
    await client.createTopics({
      waitForLeaders: true,
      topics: [{ topic: o.topic, numPartitions: o.partitions, replicationFactor: 1 }],
    });
  } else if (o.action === "delete") {
    await client.deleteTopics({ topics: [o.topic] });
  } else if (o.action === "list") {
    emit(await client.listTopics());
  } else {
    throw new Error(`unknown action ${o.action}`);
  }
  await client.disconnect();
}

const text = { type: "string" };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    bootstrap: text, topic: text, codec: text, count: text, placement: text, partitions: text, group: text, action: text,
    protocol: text, assignor: text, instance: text,
  },
});
const options = { codec: "none", ...values, count: Number(values.count), partitions: Number(values.partitions ?? 1) };
const kafka = new Kafka({
  clientId: "compat",
  brokers: options.bootstrap.split(","),
  logLevel: logLevel.ERROR,
  logCreator: () => ({ label, log }) => console.error(label, log.message, log.error ?? ""),
});
// A member ends with its standard input.
const TIMEOUT_MS = positionals[0] === "member" ? 900_000 : 45_000;
setTimeout(() => {
  console.error("timed out");
  process.exit(1);
}, TIMEOUT_MS);
try {
  const longer = { work: printed(work), apis: printed(apis), transactions: printed(transactions) };
  await { produce, consume, admin, member, ...longer }[positionals[0]](kafka, options);
  // What is still on its way into the pipe comes first.
  process.stdout.write("", () => process.exit(0));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
