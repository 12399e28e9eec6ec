// A small client of franz-go for the compat suite; the same commands as ../node/client.mjs.
//
//	client produce   -bootstrap B -topic T -codec C -count N -placement given|key|roundrobin -partitions P
//	client consume   -bootstrap B -topic T -count N [-group G]
//	client admin     -bootstrap B -action create|list|delete -topic T -partitions P
//	client work      -bootstrap B -topic T -codec C -count N -partitions P   (work.go)
//	client apis      -bootstrap B -topic T -partitions P                     (apis.go)
//	client transactions -bootstrap B -topic T -partitions P -count ROUNDS    (transactions.go)
//	client member    -bootstrap B -topic T -group G -assignor A [-instance I] (member.go)
//	client first     -bootstrap B -topic T -count N                          (member.go)
//
// Record i has the key k<i> and the value v<i>. Every result is a line of JSON on standard output;
// an error is one line on standard error and the exit status 1.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type options struct {
	bootstrap, topic, codec, placement, group, action string
	protocol, assignor, instance                      string
	count, partitions                                 int
}

func (o options) seeds() kgo.Opt {
	return kgo.SeedBrokers(strings.Split(o.bootstrap, ",")...)
}

type line struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       string `json:"key"`
	Value     string `json:"value"`
}

func codecOf(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("unknown codec %q", name)
}

func produce(ctx context.Context, o options) error {
	codec, err := codecOf(o.codec)
	if err != nil {
		return err
	}
	settings := []kgo.Opt{o.seeds(), kgo.ProducerBatchCompression(codec)}
	switch o.placement {
	case "given":
		settings = append(settings, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	case "roundrobin":
		settings = append(settings, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	records := make([]*kgo.Record, o.count)
	for i := range records {
		records[i] = &kgo.Record{
			Topic:     o.topic,
			Key:       []byte(fmt.Sprintf("k%d", i)),
			Value:     []byte(fmt.Sprintf("v%d", i)),
			Partition: int32(i % o.partitions),
		}
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	for _, r := range records {
		emit(line{r.Partition, r.Offset, string(r.Key), string(r.Value)})
	}
	return nil
}

func consume(ctx context.Context, o options) error {
	settings := []kgo.Opt{
		o.seeds(),
		kgo.ConsumeTopics(o.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}
	if o.group != "" {
		settings = append(settings, kgo.ConsumerGroup(o.group), kgo.DisableAutoCommit())
	}
	client, err := kgo.NewClient(settings...)
	if err != nil {
		return err
	}
	defer client.Close()
	for seen := 0; seen < o.count; {
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			return errs[0].Err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			emit(line{r.Partition, r.Offset, string(r.Key), string(r.Value)})
			seen++
		})
	}
	if o.group != "" {
		return client.CommitUncommittedOffsets(ctx)
	}
	return nil
}

func admin(ctx context.Context, o options) error {
	client, err := kgo.NewClient(o.seeds())
	if err != nil {
		return err
	}
	defer client.Close()
	topics := kadm.NewClient(client)
	switch o.action {
	case "create":
		answer, err := topics.CreateTopic(ctx, int32(o.partitions), 1, nil, o.topic)
		return errors.Join(err, answer.Err)
	case "delete":
		answer, err := topics.DeleteTopic(ctx, o.topic)
		return errors.Join(err, answer.Err)
	case "list":
		details, err := topics.ListTopics(ctx)
		if err != nil {
			return err
		}
		emit(details.Names())
		return nil
	}
	return fmt.Errorf("unknown action %q", o.action)
}

func emit(value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(data))
}

func main() {
	commands := map[string]func(context.Context, options) error{
		"produce": produce, "consume": consume, "admin": admin, "work": work, "apis": apis,
		"transactions": transactions, "member": joinGroup, "first": firstRecords,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: client produce|consume|admin|work|apis|transactions|member|first ...")
		os.Exit(2)
	}
	var o options
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&o.bootstrap, "bootstrap", "", "")
	flags.StringVar(&o.topic, "topic", "", "")
	flags.StringVar(&o.codec, "codec", "none", "")
	flags.StringVar(&o.placement, "placement", "key", "")
	flags.StringVar(&o.group, "group", "", "")
	flags.StringVar(&o.action, "action", "", "")
	flags.StringVar(&o.protocol, "protocol", "classic", "")
	flags.StringVar(&o.assignor, "assignor", "", "")
	flags.StringVar(&o.instance, "instance", "", "")
	flags.IntVar(&o.count, "count", 0, "")
	flags.IntVar(&o.partitions, "partitions", 1, "")
	_ = flags.Parse(os.Args[2:])
	limit := 45 * time.Second
	if os.Args[1] == "member" {
		limit = 15 * time.Minute // It ends with its standard input.
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := commands[os.Args[1]](ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
