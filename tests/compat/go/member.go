package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A member of a consumer group; tells on standard output what tests/clients/group_member.py says.

type event struct {
	Event      string `json:"e"`
	Time       int64  `json:"t"`
	Generation *int32 `json:"g,omitempty"`
	Partitions any    `json:"p,omitempty"`
	Values     []int  `json:"v,omitempty"`
	Offset     *int64 `json:"o,omitempty"`
}

var balancers = map[string]kgo.GroupBalancer{
	"range":              kgo.RangeBalancer(),
	"roundrobin":         kgo.RoundRobinBalancer(),
	"sticky":             kgo.StickyBalancer(),
	"cooperative-sticky": kgo.CooperativeStickyBalancer(),
}

type member struct {
	topic  string
	lock   sync.Mutex
	owned  map[int32]bool
	output *json.Encoder
}

func (m *member) tell(e event) {
	e.Time = time.Now().UnixMilli()
	_ = m.output.Encode(e)
}

// changed is called with the client's answer to a rebalance.
func (m *member) changed(name string, client *kgo.Client, partitions map[string][]int32, has bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, p := range partitions[m.topic] {
		if has {
			m.owned[p] = true
		} else {
			delete(m.owned, p)
		}
	}
	left := []int{}
	for p := range m.owned {
		left = append(left, int(p))
	}
	sort.Ints(left)
	_, generation := client.GroupMetadata()
	m.tell(event{Event: name, Generation: &generation, Partitions: left})
}

func (m *member) commit(ctx context.Context, client *kgo.Client) {
	offsets := client.UncommittedOffsets()
	if len(offsets) == 0 || client.CommitUncommittedOffsets(ctx) != nil {
		return // Nothing, or somebody else has the partitions now.
	}
	committed := client.CommittedOffsets()
	m.lock.Lock()
	defer m.lock.Unlock()
	for p, asked := range offsets[m.topic] {
		if kept := committed[m.topic][p]; kept.Offset >= asked.Offset {
			offset := asked.Offset
			m.tell(event{Event: "committed", Partitions: p, Offset: &offset})
		}
	}
}

func joinGroup(ctx context.Context, o options) error {
	m := &member{topic: o.topic, owned: map[int32]bool{}, output: json.NewEncoder(os.Stdout)}
	settings := []kgo.Opt{
		o.seeds(),
		kgo.ConsumeTopics(o.topic),
		kgo.ConsumerGroup(o.group),
		kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.Balancers(balancers[o.assignor]),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, c *kgo.Client, p map[string][]int32) { m.changed("assigned", c, p, true) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, c *kgo.Client, p map[string][]int32) {
			m.commit(ctx, c)
			m.changed("revoked", c, p, false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, c *kgo.Client, p map[string][]int32) { m.changed("lost", c, p, false) }),
	}
	if o.instance != "" {
		settings = append(settings, kgo.InstanceID(o.instance))
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		cancel()
	}()
	m.tell(event{Event: "subscribing"})
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			values := []int{}
			for _, record := range p.Records {
				value, err := strconv.Atoi(string(record.Value))
				if err != nil {
					panic(err)
				}
				values = append(values, value)
			}
			if len(values) > 0 {
				m.lock.Lock()
				m.tell(event{Event: "read", Partitions: p.Partition, Values: values})
				m.lock.Unlock()
			}
		})
		if ctx.Err() == nil {
			m.commit(ctx, client)
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	m.tell(event{Event: "closed"})
	return nil
}

// firstRecords: `count` times a new client with default settings in a group of its own; the milliseconds
// from its start to its first record.
func firstRecords(ctx context.Context, o options) error {
	for i := 0; i < o.count; i++ {
		var assigned time.Time
		began := time.Now()
		client, err := kgo.NewClient(
			o.seeds(),
			kgo.ConsumerGroup(fmt.Sprintf("first-%d-%d", os.Getpid(), i)),
			kgo.ConsumeTopics(o.topic),
			kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned = time.Now() }),
		)
		if err != nil {
			return err
		}
		for client.PollFetches(ctx).NumRecords() == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		ended := time.Now()
		emit(map[string]float64{
			"ms":          float64(ended.Sub(began).Microseconds()) / 1e3,
			"assigned_ms": float64(assigned.Sub(began).Microseconds()) / 1e3,
		})
		client.Close()
	}
	return nil
}
