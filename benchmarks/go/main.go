// A no-op worker server of the Go library, to compare with.
//
//	bench -redis 127.0.0.1:6379 -concurrency 100 [-counter file]
//
// With a counter the tasks are counted as in peers/counter.py: in the first of the file's 64-bit slots.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/hibiken/asynq"
)

func main() {
	redis := flag.String("redis", "127.0.0.1:6379", "address of Redis")
	concurrency := flag.Int("concurrency", 100, "tasks at once")
	counter := flag.String("counter", "", "file to count the tasks in")
	flag.Parse()
	server := asynq.NewServer(
		asynq.RedisClientOpt{Addr: *redis},
		asynq.Config{Concurrency: *concurrency, LogLevel: asynq.WarnLevel},
	)
	mux := asynq.NewServeMux()
	mux.HandleFunc("bench:noop", func(context.Context, *asynq.Task) error { return nil })
	if *counter != "" {
		done := mapped(*counter)
		mux.HandleFunc("noop", func(context.Context, *asynq.Task) error {
			atomic.AddUint64(done, 1)
			return nil
		})
	}
	if err := server.Run(mux); err != nil {
		log.Fatal(err)
	}
}

func mapped(path string) *uint64 {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		log.Fatal(err)
	}
	bytes, err := syscall.Mmap(int(file.Fd()), 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		log.Fatal(err)
	}
	return (*uint64)(unsafe.Pointer(&bytes[0]))
}
