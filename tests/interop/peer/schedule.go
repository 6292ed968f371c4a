package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

// schedule runs a scheduler until stdin is closed. Its entries come as a JSON array of a spec and a task each, in the
// form that submit reads; it prints their ids.
func schedule(arguments []string) error {
	flags := flag.NewFlagSet("schedule", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	entries := flags.String("entries", "[]", "the entries")
	_ = flags.Parse(arguments)

	var wanted []struct {
		Spec string     `json:"spec"`
		Task submission `json:"task"`
	}
	if err := json.Unmarshal([]byte(*entries), &wanted); err != nil {
		return err
	}
	scheduler := asynq.NewScheduler(connection(*address), &asynq.SchedulerOpts{
		HeartbeatInterval: time.Second, LogLevel: asynq.FatalLevel,
	})
	ids := []string{}
	for _, entry := range wanted {
		task := asynq.NewTaskWithHeaders(entry.Task.Type, entry.Task.Payload, entry.Task.Headers)
		id, err := scheduler.Register(entry.Spec, task, entry.Task.options()...)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := scheduler.Start(); err != nil {
		return err
	}
	if err := print(ids); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	scheduler.Shutdown()
	return nil
}
