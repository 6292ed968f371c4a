// A paced producer of the Go library: tasks whose payload is the time when their enqueueing began, in Unix nanoseconds.
//
//	paced -redis 127.0.0.1:6379 -tasks 300 -rate 20
package main

import (
	"flag"
	"log"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	redis := flag.String("redis", "127.0.0.1:6379", "address of Redis")
	tasks := flag.Int("tasks", 300, "how many")
	rate := flag.Float64("rate", 20, "tasks a second")
	flag.Parse()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: *redis})
	defer client.Close()
	for n := 0; n < *tasks; n++ {
		time.Sleep(time.Duration(float64(time.Second) / *rate))
		payload := []byte(strconv.FormatInt(time.Now().UnixNano(), 10))
		if _, err := client.Enqueue(asynq.NewTask("bench:stamp", payload)); err != nil {
			log.Fatal(err)
		}
	}
}
