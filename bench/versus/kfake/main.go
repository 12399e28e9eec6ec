// One kfake broker as a process: kfake [--data-dir DIR [--sync]]
//
// Prints "kfake ready bootstrap=HOST:PORT pid=PID" and serves until SIGTERM or SIGINT, or until its
// standard input ends: it does not outlive who started it.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"
)

func main() {
	dataDir := flag.String("data-dir", "", "where to write; nothing: everything stays in memory")
	sync := flag.Bool("sync", false, "fsync each batch")
	flag.Parse()

	options := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			return net.Listen(network, "127.0.0.1:0")
		}),
	}
	if *dataDir != "" {
		options = append(options, kfake.DataDir(*dataDir))
	}
	if *sync {
		options = append(options, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		signals <- syscall.SIGTERM
	}()
	fmt.Printf("kfake ready bootstrap=%s pid=%d\n", cluster.ListenAddrs()[0], os.Getpid())
	<-signals
	cluster.Close()
}
