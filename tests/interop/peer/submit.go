package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

// submission is one line of stdin: a task and the client's options for it. Those that are absent are not given.
type submission struct {
	Type       string            `json:"type"`
	Payload    []byte            `json:"payload"` // base64 in JSON
	Headers    map[string]string `json:"headers"`
	Queue      *string           `json:"queue"`
	MaxRetry   *int              `json:"max_retry"`
	TimeoutS   *int64            `json:"timeout_s"`
	DeadlineS  *int64            `json:"deadline_s"` // Unix time, as process_at_s
	UniqueS    *int64            `json:"unique_s"`
	ID         *string           `json:"id"`
	ProcessAtS *int64            `json:"process_at_s"`
	ProcessInS *int64            `json:"process_in_s"`
	RetentionS *int64            `json:"retention_s"`
	Group      *string           `json:"group"`
}

// submit enqueues with the client, one task a line; the answer is what it tells of the task, or its error.
func submit(arguments []string) error {
	flags := flag.NewFlagSet("submit", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	_ = flags.Parse(arguments)

	client := asynq.NewClient(connection(*address))
	defer client.Close()
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	for input.Scan() {
		var task submission
		if err := json.Unmarshal(input.Bytes(), &task); err != nil {
			return err
		}
		info, err := client.Enqueue(asynq.NewTaskWithHeaders(task.Type, task.Payload, task.Headers), task.options()...)
		reply := map[string]any{}
		if err != nil {
			reply["error"] = err.Error()
		} else {
			reply["id"], reply["queue"], reply["state"] = info.ID, info.Queue, info.State.String()
		}
		if err := print(reply); err != nil {
			return err
		}
	}
	return input.Err()
}

func (s *submission) options() []asynq.Option {
	var options []asynq.Option
	duration := func(seconds *int64, option func(time.Duration) asynq.Option) {
		if seconds != nil {
			options = append(options, option(time.Duration(*seconds)*time.Second))
		}
	}
	moment := func(seconds *int64, option func(time.Time) asynq.Option) {
		if seconds != nil {
			options = append(options, option(time.Unix(*seconds, 0)))
		}
	}
	text := func(value *string, option func(string) asynq.Option) {
		if value != nil {
			options = append(options, option(*value))
		}
	}
	text(s.Queue, asynq.Queue)
	if s.MaxRetry != nil {
		options = append(options, asynq.MaxRetry(*s.MaxRetry))
	}
	duration(s.TimeoutS, asynq.Timeout)
	moment(s.DeadlineS, asynq.Deadline)
	duration(s.UniqueS, asynq.Unique)
	text(s.ID, asynq.TaskID)
	moment(s.ProcessAtS, asynq.ProcessAt)
	duration(s.ProcessInS, asynq.ProcessIn)
	duration(s.RetentionS, asynq.Retention)
	text(s.Group, asynq.Group)
	return options
}
