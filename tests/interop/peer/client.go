package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// enqueue uses the client as any Go service does. "%d" in the payload is replaced by the task's number.
func enqueue(arguments []string) error {
	flags := flag.NewFlagSet("enqueue", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	queue := flags.String("queue", "default", "queue")
	kind := flags.String("type", "test:task", "task type")
	payload := flags.String("payload", `{"n":%d}`, "payload; %d is the task's number")
	count := flags.Int("count", 1, "how many tasks")
	retry := flags.Int("retry", 25, "maximum retries")
	in := flags.Duration("in", 0, "delay")
	unique := flags.Duration("unique", 0, "lifetime of the unique lock")
	retention := flags.Duration("retention", 0, "retention")
	timeout := flags.Duration("timeout", 0, "timeout")
	id := flags.String("id", "", "task id")
	group := flags.String("group", "", "group")
	header := flags.String("headers", "{}", "headers, as a JSON object")
	_ = flags.Parse(arguments)

	client := asynq.NewClient(connection(*address))
	defer client.Close()
	options := []asynq.Option{asynq.Queue(*queue), asynq.MaxRetry(*retry), asynq.Timeout(*timeout), asynq.Retention(*retention)}
	if *in > 0 {
		options = append(options, asynq.ProcessIn(*in))
	}
	if *unique > 0 {
		options = append(options, asynq.Unique(*unique))
	}
	if *id != "" {
		options = append(options, asynq.TaskID(*id))
	}
	if *group != "" {
		options = append(options, asynq.Group(*group))
	}
	var headers map[string]string
	if err := json.Unmarshal([]byte(*header), &headers); err != nil {
		return err
	}
	for number := range *count {
		body := []byte(*payload)
		if *count > 1 || *payload == `{"n":%d}` {
			body = fmt.Appendf(nil, *payload, number)
		}
		info, err := client.Enqueue(asynq.NewTaskWithHeaders(*kind, body, headers), options...)
		if err != nil {
			return err
		}
		if err := print(map[string]any{"id": info.ID, "state": info.State.String(), "at": info.NextProcessAt.Format(time.RFC3339)}); err != nil {
			return err
		}
	}
	return nil
}
