package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// transacted is what `transactions` did: what was written in transactions that committed and that
// were aborted, what readers of committed and of all records saw, what a group copied to
// <topic>-copy in transactions of its own, and how a producer that was replaced ended.
type transacted struct {
	Committed   []line `json:"committed"`
	Aborted     []line `json:"aborted"`
	ReadStable  []line `json:"read_stable"`
	ReadAll     []line `json:"read_all"`
	Copied      []line `json:"copied"`
	GroupRounds int    `json:"group_rounds"`
	Fenced      string `json:"fenced"`
}

// transactions writes rounds of records into <topic>, every third of which it aborts; copies what is
// committed to <topic>-copy with franz-go's group session, aborting its first round; and has a second
// producer of the id fence the first one.
func transactions(ctx context.Context, o options) error {
	found := &transacted{}
	for _, step := range []func(context.Context, options, *transacted) error{rounds, copies, fences} {
		if err := step(ctx, o, found); err != nil {
			return err
		}
	}
	emit(found)
	return nil
}

func rounds(ctx context.Context, o options, found *transacted) error {
	client, err := kgo.NewClient(o.seeds(), kgo.TransactionalID(o.topic))
	if err != nil {
		return err
	}
	defer client.Close()
	for round := 0; round < o.count; round++ {
		if err := client.BeginTransaction(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		written := make([]*kgo.Record, 2*o.partitions)
		for i := range written {
			text := fmt.Sprintf("%d-%d", round, i)
			written[i] = &kgo.Record{Topic: o.topic, Key: []byte(text), Value: []byte("v" + text)}
		}
		if err := client.ProduceSync(ctx, written...).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		commit := kgo.TransactionEndTry(round%3 != 2)
		if err := client.EndTransaction(ctx, commit); err != nil {
			return fmt.Errorf("end: %w", err)
		}
		for _, r := range written {
			one := line{r.Partition, r.Offset, string(r.Key), string(r.Value)}
			if commit {
				found.Committed = append(found.Committed, one)
			} else {
				found.Aborted = append(found.Aborted, one)
			}
		}
	}
	if found.ReadStable, err = readTopic(ctx, o, o.topic, len(found.Committed), kgo.ReadCommitted()); err != nil {
		return err
	}
	all := len(found.Committed) + len(found.Aborted)
	found.ReadAll, err = readTopic(ctx, o, o.topic, all, kgo.ReadUncommitted())
	return err
}

func readTopic(ctx context.Context, o options, topic string, count int, level kgo.IsolationLevel) ([]line, error) {
	client, err := kgo.NewClient(
		o.seeds(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(level),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var seen []line
	for len(seen) < count {
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return nil, fmt.Errorf("read %d of %d of %s: %w", len(seen), count, topic, errs[0].Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen = append(seen, line{r.Partition, r.Offset, string(r.Key), string(r.Value)})
		})
	}
	return seen, nil
}

func copies(ctx context.Context, o options, found *transacted) error {
	session, err := kgo.NewGroupTransactSession(
		o.seeds(), kgo.TransactionalID(o.topic+"-copier"), kgo.ConsumerGroup(o.topic+"-copiers"),
		kgo.ConsumeTopics(o.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), kgo.FetchMaxBytes(4096),
	)
	if err != nil {
		return err
	}
	defer session.Close()
	for copied := 0; copied < len(found.Committed); {
		fetches := session.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return fmt.Errorf("copied %d: %w", copied, errs[0].Err)
		}
		if err := session.Begin(); err != nil {
			return err
		}
		promise := kgo.AbortingFirstErrPromise(session.Client())
		batch := 0
		fetches.EachRecord(func(r *kgo.Record) {
			copy := &kgo.Record{Topic: o.topic + "-copy", Key: r.Key, Value: r.Value}
			session.Produce(ctx, copy, promise.Promise())
			batch++
		})
		if err := promise.Err(); err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		commit := kgo.TransactionEndTry(found.GroupRounds != 0)
		committed, err := session.End(ctx, commit)
		if err != nil {
			return fmt.Errorf("end of the copy: %w", err)
		}
		found.GroupRounds++
		if committed {
			copied += batch
		}
	}
	found.Copied, err = readTopic(ctx, o, o.topic+"-copy", len(found.Committed), kgo.ReadCommitted())
	return err
}

func fences(ctx context.Context, o options, found *transacted) error {
	id := kgo.TransactionalID(o.topic + "-fenced")
	first, err := kgo.NewClient(o.seeds(), id)
	if err != nil {
		return err
	}
	defer first.Close()
	record := func() *kgo.Record { return &kgo.Record{Topic: o.topic, Value: []byte("zombie")} }
	if err := first.BeginTransaction(); err != nil {
		return err
	}
	if err := first.ProduceSync(ctx, record()).FirstErr(); err != nil {
		return err
	}
	second, err := kgo.NewClient(o.seeds(), id)
	if err != nil {
		return err
	}
	defer second.Close()
	if err := second.BeginTransaction(); err != nil {
		return err
	}
	if err := second.ProduceSync(ctx, record()).FirstErr(); err != nil {
		return fmt.Errorf("the second producer: %w", err)
	}
	fenced := first.ProduceSync(ctx, record()).FirstErr()
	if fenced == nil {
		fenced = first.EndTransaction(ctx, kgo.TryCommit)
	}
	found.Fenced = name(fenced)
	return errors.Join(second.EndTransaction(ctx, kgo.TryAbort))
}
