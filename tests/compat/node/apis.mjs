// A tour through kafkajs' admin client with one topic; collects what each call answered.

import kafkajs from "kafkajs";

import { asMember, committed, QUICK } from "./work.mjs";

const { ConfigResourceTypes } = kafkajs;
const RECORD_TIME_MS = 1_700_000_000_000;

// Kafka's name of the error that a call fails with, "NONE" if it does not fail.
async function failure(promise) {
  try {
    await promise;
    return "NONE";
  } catch (error) {
    let inner = error;
    while (inner && !inner.type) inner = inner.cause ?? inner.errors?.[0] ?? inner.partitions?.[0]?.error;
    return inner?.type ?? String(error);
  }
}

async function topicConfigs(admin, topic) {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: true,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  });
  const [{ configEntries, errorCode }] = resources;
  if (errorCode) throw new Error(`describeConfigs: error ${errorCode}`);
  return Object.fromEntries(configEntries.map(({ configName, configValue }) => [configName, configValue]));
}

// A broker of Apache's may learn of a change after its controller has answered.
async function topicConfigsOnce(admin, topic, config, value) {
  for (;;) {
    const values = await topicConfigs(admin, topic);
    if (values[config] === value) return values;
  }
}

async function partitionsOnce(admin, topic, count) {
  for (;;) {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    if (topics[0].partitions.length === count) return topics[0].partitions;
  }
}

async function configs(admin, o, nodes) {
  const before = await topicConfigs(admin, o.topic);
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      { type: ConfigResourceTypes.TOPIC, name: o.topic, configEntries: [{ name: "segment.bytes", value: "2097152" }] },
    ],
  });
  const altered = await topicConfigsOnce(admin, o.topic, "segment.bytes", "2097152");
  const refused = await failure(
    admin.alterConfigs({
      validateOnly: true,
      resources: [
        { type: ConfigResourceTypes.TOPIC, name: o.topic, configEntries: [{ name: "retention.ms", value: "nonsense" }] },
      ],
    }),
  );
  const described = await admin.describeConfigs({
    includeSynonyms: false,
    resources: nodes.map((node) => ({ type: ConfigResourceTypes.BROKER, name: String(node) })),
  });
  return {
    before: before["retention.ms"],
    replaced: altered["retention.ms"],
    altered: altered["segment.bytes"],
    refused,
    broker_counts: Object.fromEntries(described.resources.map((r) => [r.resourceName, r.configEntries.length])),
  };
}

// Four records to partition 0 for each kind of acknowledgement; those with acks=0 are not answered.
async function acks(kafka, admin, topic) {
  let number = 0;
  const producer = kafka.producer();
  await producer.connect();
  const answers = {};
  for (const acks of [-1, 1, 0]) {
    for (let i = 0; i < 4; i++) {
      const message = { partition: 0, value: `a${number}`, timestamp: String(RECORD_TIME_MS + number) };
      number += 1;
      const [answer] = (await producer.send({ topic, acks, messages: [message] })) ?? [];
      (answers[acks] ??= []).push(answer ? Number(answer.baseOffset) : null);
    }
  }
  let end = 0;
  while (end < number) {
    const offsets = await admin.fetchTopicOffsets(topic);
    end = Number(offsets.find(({ partition }) => partition === 0).high);
  }
  await producer.disconnect();
  return { answers, end };
}

const byPartition = (offsets) => Object.fromEntries(offsets.map(({ partition, offset }) => [partition, Number(offset)]));

export async function apis(kafka, o) {
  const { topic } = o;
  const admin = kafka.admin();
  await admin.connect();
  const cluster = await admin.describeCluster();
  const nodes = cluster.brokers.map(({ nodeId }) => nodeId);
  const wanted = {
    topic,
    numPartitions: o.partitions,
    replicationFactor: 1,
    configEntries: [{ name: "retention.ms", value: "3600000" }],
  };
  const bad = { ...wanted, topic: `${topic}-bad`, configEntries: [{ name: "retention.ms", value: "nonsense" }] };
  const create = {
    validated: await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [wanted] }),
    created: await admin.createTopics({ topics: [wanted] }),
    again: await admin.createTopics({ topics: [wanted] }),
    bad: await failure(admin.createTopics({ topics: [bad] })),
  };
  const leaders = (await partitionsOnce(admin, topic, o.partitions)).map(({ leader }) => leader);
  const listed = await admin.listTopics();
  const found = {
    cluster: { id: cluster.clusterId, controller: cluster.controller, nodes },
    create: { ...create, leaders, listed: listed.includes(topic), bad_listed: listed.includes(bad.topic) },
    configs: await configs(admin, o, nodes),
  };
  await admin.createPartitions({ topicPartitions: [{ topic, count: o.partitions + 1 }] });
  found.partitions = (await partitionsOnce(admin, topic, o.partitions + 1)).length;
  found.fewer = await failure(admin.createPartitions({ topicPartitions: [{ topic, count: 1 }] }));
  found.acks = await acks(kafka, admin, topic);
  found.after_five = byPartition(await admin.fetchTopicOffsetsByTimestamp(topic, RECORD_TIME_MS + 5));
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "5" }] });
  const [first] = (await admin.fetchTopicOffsets(topic)).filter(({ partition }) => partition === 0);
  found.low = Number(first.low);
  found.beyond = await failure(admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "500" }] }));
  found.rest = (await asMember(kafka, topic, `${topic}-group`, 7, true, QUICK)).map(({ value }) => value);
  found.committed = await committed(admin, `${topic}-group`, topic);
  await admin.deleteTopics({ topics: [topic] });
  // kafkajs would ask six times, as a topic may only be unknown still.
  const impatient = kafka.admin({ retry: { retries: 0 } });
  await impatient.connect();
  found.deleted_again = await failure(impatient.deleteTopics({ topics: [topic] }));
  await impatient.disconnect();
  found.listed_after = (await admin.listTopics()).includes(topic);
  await admin.disconnect();
  return found;
}
