package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// worked is what `work` did with one topic: half of the records written by ProduceSync, half by
// Produce; all read directly, then by two members of a group one after the other.
type worked struct {
	ProducerID    int64           `json:"producer_id"`
	ProducerEpoch int16           `json:"producer_epoch"`
	Sync          []line          `json:"sync"`
	Async         []line          `json:"async"`
	Direct        []fullLine      `json:"direct"`
	Middle        []line          `json:"middle"`
	First         []line          `json:"first"`
	Committed     map[int32]int64 `json:"committed"`
	Second        []line          `json:"second"`
	CommittedLast map[int32]int64 `json:"committed_last"`
	Starts        map[int32]int64 `json:"starts"`
	Ends          map[int32]int64 `json:"ends"`
}

type fullLine struct {
	line
	Headers   map[string]string `json:"headers"`
	Timestamp int64             `json:"timestamp"`
	NoKey     bool              `json:"no_key"`
	NoValue   bool              `json:"no_value"`
}

const (
	recordTimeMs   = 1_700_000_000_000
	largestPadding = 4000
)

// padded is a value that compresses well; the pytest side builds the same.
func padded(i int) []byte {
	return []byte(fmt.Sprintf("v%d ", i) + strings.Repeat("tide", i*97%largestPadding/4))
}

// work creates a topic and takes it through everything that a program does with records.
func work(ctx context.Context, o options) error {
	settings := []kgo.Opt{o.seeds()}
	if o.codec != "default" {
		codec, err := codecOf(o.codec)
		if err != nil {
			return err
		}
		settings = append(settings, kgo.ProducerBatchCompression(codec))
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	topics := kadm.NewClient(client)
	if _, err := topics.CreateTopic(ctx, int32(o.partitions), 1, nil, o.topic); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	var done worked
	if err := write(ctx, client, o, &done); err != nil {
		return err
	}
	if done.Starts, err = offsets(topics.ListStartOffsets(ctx, o.topic)); err != nil {
		return err
	}
	if done.Ends, err = offsets(topics.ListEndOffsets(ctx, o.topic)); err != nil {
		return err
	}
	if err := readDirectly(ctx, o, &done); err != nil {
		return err
	}
	group := o.topic + "-group"
	if done.First, err = asMember(ctx, o, group, o.count/2); err != nil {
		return fmt.Errorf("first member: %w", err)
	}
	if done.Committed, err = committed(ctx, topics, group, o.topic); err != nil {
		return err
	}
	if done.Second, err = asMember(ctx, o, group, o.count-o.count/2); err != nil {
		return fmt.Errorf("second member: %w", err)
	}
	if done.CommittedLast, err = committed(ctx, topics, group, o.topic); err != nil {
		return err
	}
	emit(done)
	return nil
}

func write(ctx context.Context, client *kgo.Client, o options, done *worked) error {
	records := make([]*kgo.Record, o.count)
	for i := range records {
		records[i] = &kgo.Record{
			Topic:   o.topic,
			Key:     []byte(fmt.Sprintf("k%d", i)),
			Value:   padded(i),
			Headers: []kgo.RecordHeader{{Key: "number", Value: []byte(fmt.Sprint(i))}},
		}
		records[i].Timestamp = milliseconds(recordTimeMs + int64(i))
	}
	records[o.count-1].Key = nil
	records[o.count-2].Value = nil
	half := o.count / 2
	if err := client.ProduceSync(ctx, records[:half]...).FirstErr(); err != nil {
		return fmt.Errorf("produce sync: %w", err)
	}
	var err error
	if done.ProducerID, done.ProducerEpoch, err = client.ProducerID(ctx); err != nil {
		return fmt.Errorf("producer id: %w", err)
	}
	var first kgo.FirstErrPromise
	for _, record := range records[half:] {
		client.Produce(ctx, record, first.Promise())
	}
	if err := first.Err(); err != nil {
		return fmt.Errorf("produce async: %w", err)
	}
	done.Sync, done.Async = lines(records[:half]), lines(records[half:])
	return nil
}

// readDirectly reads without a group: all from the start, then partition 0 from its second record.
func readDirectly(ctx context.Context, o options, done *worked) error {
	reader, err := kgo.NewClient(
		o.seeds(), kgo.ConsumeTopics(o.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return err
	}
	defer reader.Close()
	records, err := poll(ctx, reader, o.count)
	if err != nil {
		return fmt.Errorf("direct: %w", err)
	}
	for _, r := range records {
		full := fullLine{
			line: lineOf(r), Timestamp: r.Timestamp.UnixMilli(), NoKey: r.Key == nil, NoValue: r.Value == nil,
			Headers: map[string]string{},
		}
		for _, header := range r.Headers {
			full.Headers[header.Key] = string(header.Value)
		}
		done.Direct = append(done.Direct, full)
	}
	middle, err := kgo.NewClient(o.seeds(), kgo.ConsumePartitions(
		map[string]map[int32]kgo.Offset{o.topic: {0: kgo.NewOffset().At(1)}},
	))
	if err != nil {
		return err
	}
	defer middle.Close()
	if records, err = poll(ctx, middle, int(done.Ends[0])-1); err != nil {
		return fmt.Errorf("middle: %w", err)
	}
	done.Middle = lines(records)
	return nil
}

// asMember reads `count` records as the one member of a group, commits just these and leaves.
func asMember(ctx context.Context, o options, group string, count int) ([]line, error) {
	member, err := kgo.NewClient(
		o.seeds(),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(o.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		return nil, err
	}
	defer member.Close()
	records, err := poll(ctx, member, count)
	if err != nil {
		return nil, err
	}
	if err := member.CommitRecords(ctx, records...); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return lines(records), member.LeaveGroupContext(ctx)
}

// poll reads exactly `count` records.
func poll(ctx context.Context, client *kgo.Client, count int) ([]*kgo.Record, error) {
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollRecords(ctx, count-len(records))
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, fmt.Errorf("%s-%d after %d: %w", errs[0].Topic, errs[0].Partition, len(records), errs[0].Err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

func committed(ctx context.Context, topics *kadm.Client, group, topic string) (map[int32]int64, error) {
	answers, err := topics.FetchOffsets(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("fetch offsets: %w", err)
	}
	found := map[int32]int64{}
	for partition, answer := range answers[topic] {
		found[partition] = answer.At
	}
	return found, answers.Error()
}

func offsets(listed kadm.ListedOffsets, err error) (map[int32]int64, error) {
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	found := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { found[o.Partition] = o.Offset })
	return found, nil
}

func lineOf(r *kgo.Record) line {
	return line{r.Partition, r.Offset, string(r.Key), string(r.Value)}
}

func lines(records []*kgo.Record) []line {
	all := make([]line, len(records))
	for i, r := range records {
		all[i] = lineOf(r)
	}
	return all
}
