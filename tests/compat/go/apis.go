package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func milliseconds(at int64) time.Time { return time.UnixMilli(at) }

// name is Kafka's name of an error, "NONE" without one.
func name(err error) string {
	var known *kerr.Error
	switch {
	case err == nil:
		return "NONE"
	case errors.As(err, &known):
		return known.Message
	}
	return err.Error()
}

// fresh makes kadm ask the broker; without it, it may answer from what the client remembers.
func fresh(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

// tour goes through the admin APIs with one topic and collects what each answered.
type tour struct {
	options
	client *kgo.Client
	topics *kadm.Client
	found  map[string]any
}

func apis(ctx context.Context, o options) error {
	client, err := kgo.NewClient(o.seeds())
	if err != nil {
		return err
	}
	defer client.Close()
	t := tour{o, client, kadm.NewClient(client), map[string]any{}}
	stops := []struct {
		name  string
		visit func(context.Context) error
	}{
		{"cluster", t.cluster}, {"create", t.create}, {"configs", t.configs}, {"partitions", t.morePartitions},
		{"acks", t.acks}, {"offsets", t.listOffsets}, {"producers", t.producers}, {"log dirs", t.logDirs},
		{"group", t.group}, {"delete records", t.deleteRecords}, {"delete", t.deleteTopic},
	}
	for _, stop := range stops {
		if err := stop.visit(ctx); err != nil {
			return fmt.Errorf("%s: %w", stop.name, err)
		}
	}
	emit(t.found)
	return nil
}

func (t tour) cluster(ctx context.Context) error {
	metadata, err := t.topics.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	versions, err := t.topics.ApiVersions(ctx)
	if err != nil {
		return err
	}
	produce := map[int32]int16{}
	versions.Each(func(v kadm.BrokerApiVersions) { produce[v.NodeID], _ = v.KeyMaxVersion(0) })
	t.found["cluster"] = map[string]any{
		"id": metadata.Cluster, "controller": metadata.Controller, "nodes": metadata.Brokers.NodeIDs(),
		"produce_versions": produce,
	}
	return nil
}

func (t tour) create(ctx context.Context) error {
	partitions := int32(t.partitions)
	checked, err := t.topics.ValidateCreateTopics(ctx, partitions, 1, nil, t.topic)
	if err != nil {
		return err
	}
	// kadm asks for the version that returns the configs, and gives those of a created topic.
	value := "3600000"
	created, err := t.topics.CreateTopic(ctx, partitions, 1, map[string]*string{"retention.ms": &value}, t.topic)
	if err != nil {
		return err
	}
	_, again := t.topics.CreateTopic(ctx, partitions, 1, nil, t.topic)
	bad := "nonsense"
	_, refused := t.topics.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &bad}, t.topic+"-bad")
	_, replicas := t.topics.CreateTopic(ctx, 1, 7, nil, t.topic+"-replicas")
	metadata, err := t.topics.Metadata(fresh(ctx), t.topic)
	if err != nil {
		return err
	}
	leaders := map[int32]int32{}
	for partition, detail := range metadata.Topics[t.topic].Partitions {
		leaders[partition] = detail.Leader
	}
	listed, err := t.topics.ListTopics(fresh(ctx))
	if err != nil {
		return err
	}
	t.found["create"] = map[string]any{
		"validated": name(checked[t.topic].Err), "partitions": created.NumPartitions,
		"same_id": created.ID == metadata.Topics[t.topic].ID && created.ID != kadm.TopicID{},
		"again":   name(again), "bad_config": name(refused), "too_many_replicas": name(replicas),
		"leaders": leaders, "listed": listed.Has(t.topic), "bad_listed": listed.Has(t.topic + "-bad"),
	}
	return nil
}

// topicConfigsOnce describes the topic until a config has the value: a broker of Apache's may learn of
// a change after its controller has answered.
func (t tour) topicConfigsOnce(ctx context.Context, config, value string) (map[string]string, error) {
	for {
		values, err := t.topicConfigs(ctx)
		if err != nil || values[config] == value {
			return values, err
		}
	}
}

func (t tour) topicConfigs(ctx context.Context) (map[string]string, error) {
	described, err := t.topics.DescribeTopicConfigs(ctx, t.topic)
	if err != nil {
		return nil, err
	}
	topic, err := described.On(t.topic, nil)
	if err = errors.Join(err, topic.Err); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, config := range topic.Configs {
		values[config.Key] = fmt.Sprintf("%s %s", config.MaybeValue(), config.Source)
	}
	return values, nil
}

func (t tour) configs(ctx context.Context) error {
	before, err := t.topicConfigs(ctx)
	if err != nil {
		return err
	}
	size, retention := "2097152", "7200000"
	answers, err := t.topics.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "segment.bytes", Value: &size},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
	}, t.topic)
	if err = errors.Join(err, answers[0].Err); err != nil {
		return err
	}
	altered, err := t.topicConfigsOnce(ctx, "segment.bytes", size+" DYNAMIC_TOPIC_CONFIG")
	if err != nil {
		return err
	}
	answers, err = t.topics.AlterTopicConfigsState(
		ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &retention}}, t.topic,
	)
	if err = errors.Join(err, answers[0].Err); err != nil {
		return err
	}
	replaced, err := t.topicConfigsOnce(ctx, "retention.ms", retention+" DYNAMIC_TOPIC_CONFIG")
	if err != nil {
		return err
	}
	brokers, err := t.topics.ListBrokers(ctx)
	if err != nil {
		return err
	}
	described, err := t.topics.DescribeBrokerConfigs(ctx, brokers.NodeIDs()...)
	if err != nil {
		return err
	}
	nodes := map[string]int{}
	for _, node := range described {
		nodes[node.Name] = len(node.Configs)
	}
	t.found["configs"] = map[string]any{"before": before, "altered": altered, "replaced": replaced, "broker_counts": nodes}
	return nil
}

func (t tour) morePartitions(ctx context.Context) error {
	answers, err := t.topics.CreatePartitions(ctx, 2, t.topic)
	if err = errors.Join(err, answers[t.topic].Err); err != nil {
		return err
	}
	fewer, err := t.topics.UpdatePartitions(ctx, 1, t.topic)
	if err != nil {
		return err
	}
	metadata, err := t.topics.Metadata(fresh(ctx), t.topic)
	if err != nil {
		return err
	}
	t.found["partitions"] = map[string]any{
		"count": len(metadata.Topics[t.topic].Partitions), "fewer": name(fewer[t.topic].Err),
	}
	return nil
}

// acks writes four records to partition 0 for each kind: idempotent, by the leader's word, unanswered.
func (t tour) acks(ctx context.Context) error {
	kinds := [][]kgo.Opt{
		{},
		{kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck())},
		{kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.NoAck())},
	}
	for number, kind := range kinds {
		kind = append(kind, t.seeds(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		producer, err := kgo.NewClient(kind...)
		if err != nil {
			return err
		}
		defer producer.Close()
		for i := range 4 {
			record := &kgo.Record{
				Topic: t.topic, Value: []byte("x"), Timestamp: milliseconds(recordTimeMs + int64(4*number+i)),
			}
			if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
				return err
			}
		}
	}
	// Nobody says when the unanswered records are there.
	ends := map[int32]int64{}
	for ends[0] < 12 {
		var err error
		if ends, err = offsets(t.topics.ListEndOffsets(ctx, t.topic)); err != nil {
			return err
		}
	}
	t.found["acks"] = ends
	return nil
}

func (t tour) listOffsets(ctx context.Context) error {
	questions := map[string]func() (kadm.ListedOffsets, error){
		"start":     func() (kadm.ListedOffsets, error) { return t.topics.ListStartOffsets(ctx, t.topic) },
		"committed": func() (kadm.ListedOffsets, error) { return t.topics.ListCommittedOffsets(ctx, t.topic) },
		"max_time":  func() (kadm.ListedOffsets, error) { return t.topics.ListMaxTimestampOffsets(ctx, t.topic) },
		"local":     func() (kadm.ListedOffsets, error) { return t.topics.ListLocalLogStartOffsets(ctx, t.topic) },
		"remote":    func() (kadm.ListedOffsets, error) { return t.topics.ListLatestRemoteOffsets(ctx, t.topic) },
		"after_five": func() (kadm.ListedOffsets, error) {
			return t.topics.ListOffsetsAfterMilli(ctx, recordTimeMs+5, t.topic)
		},
	}
	answers := map[string]map[int32]int64{}
	for question, ask := range questions {
		answer, err := offsets(ask())
		if err != nil {
			return fmt.Errorf("%s: %w", question, err)
		}
		answers[question] = answer
	}
	var request kadm.OffsetForLeaderEpochRequest
	request.Add(t.topic, 0, 0)
	epochs, err := t.topics.OffsetForLeaderEpoch(ctx, request)
	if err != nil {
		return err
	}
	epoch := epochs[t.topic][0]
	t.found["offsets"] = answers
	t.found["epoch"] = map[string]any{"error": name(epoch.Err), "epoch": epoch.LeaderEpoch, "end": epoch.EndOffset}
	return nil
}

func (t tour) producers(ctx context.Context) error {
	var partition kadm.TopicsSet
	partition.Add(t.topic, 0)
	described, err := t.topics.DescribeProducers(ctx, partition)
	if err != nil {
		return err
	}
	producers := []map[string]int64{}
	described.EachProducer(func(p kadm.DescribedProducer) {
		producers = append(producers, map[string]int64{
			"epoch": int64(p.ProducerEpoch), "sequence": int64(p.LastSequence), "time": p.LastTimestamp,
		})
	})
	t.found["producers"] = producers
	return nil
}

func (t tour) logDirs(ctx context.Context) error {
	var partitions kadm.TopicsSet
	for partition := range t.partitions + 2 {
		partitions.Add(t.topic, int32(partition))
	}
	described, err := t.topics.DescribeAllLogDirs(ctx, partitions)
	if err != nil {
		return err
	}
	sizes := map[int32]int64{}
	var failed error
	described.Each(func(d kadm.DescribedLogDir) {
		failed = errors.Join(failed, d.Err)
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) { sizes[p.Partition] = p.Size })
	})
	t.found["log_dirs"] = sizes
	return failed
}

// group commits offsets from outside, as a tool does for a group without members.
func (t tour) group(ctx context.Context) error {
	group := t.topic + "-outside"
	coordinators := t.topics.FindGroupCoordinators(ctx, group)
	var wanted kadm.Offsets
	wanted.Add(kadm.Offset{Topic: t.topic, Partition: 0, At: 7, LeaderEpoch: 0, Metadata: "by hand"})
	if err := t.topics.CommitAllOffsets(ctx, group, wanted); err != nil {
		return err
	}
	answers, err := t.topics.FetchOffsets(ctx, group)
	if err = errors.Join(err, answers.Error()); err != nil {
		return err
	}
	answer, _ := answers.Lookup(t.topic, 0)
	t.found["group"] = map[string]any{
		"coordinator": coordinators[group].NodeID, "error": name(coordinators[group].Err),
		"offset": answer.At, "metadata": answer.Metadata,
	}
	return nil
}

func (t tour) deleteRecords(ctx context.Context) error {
	var before, beyond kadm.Offsets
	before.AddOffset(t.topic, 0, 5, -1)
	beyond.AddOffset(t.topic, 0, 500, -1)
	deleted, err := t.topics.DeleteRecords(ctx, before)
	if err = errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	refused, err := t.topics.DeleteRecords(ctx, beyond)
	if err != nil {
		return err
	}
	starts, err := offsets(t.topics.ListStartOffsets(ctx, t.topic))
	if err != nil {
		return err
	}
	low, _ := deleted.Lookup(t.topic, 0)
	no, _ := refused.Lookup(t.topic, 0)
	t.found["delete_records"] = map[string]any{"low": low.LowWatermark, "start": starts[0], "beyond": name(no.Err)}
	return nil
}

func (t tour) deleteTopic(ctx context.Context) error {
	_, deleted := t.topics.DeleteTopic(ctx, t.topic)
	_, again := t.topics.DeleteTopic(ctx, t.topic)
	listed, err := t.topics.ListTopics(fresh(ctx))
	if err != nil {
		return err
	}
	t.found["delete"] = map[string]any{"first": name(deleted), "again": name(again), "listed": listed.Has(t.topic)}
	return nil
}
