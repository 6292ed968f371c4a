// A no-op worker server of the Go library, to compare with.
//
//	bench -redis 127.0.0.1:6379 -concurrency 100
package main

import (
	"context"
	"flag"
	"log"

	"github.com/hibiken/asynq"
)

func main() {
	redis := flag.String("redis", "127.0.0.1:6379", "address of Redis")
	concurrency := flag.Int("concurrency", 100, "tasks at once")
	flag.Parse()
	server := asynq.NewServer(
		asynq.RedisClientOpt{Addr: *redis},
		asynq.Config{Concurrency: *concurrency, LogLevel: asynq.WarnLevel},
	)
	mux := asynq.NewServeMux()
	mux.HandleFunc("bench:noop", func(context.Context, *asynq.Task) error { return nil })
	if err := server.Run(mux); err != nil {
		log.Fatal(err)
	}
}
