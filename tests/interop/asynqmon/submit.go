package main

import (
	"bufio"
	"encoding/json"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

// submission is one line of stdin. The payload is base64 in JSON; zeros are not given.
type submission struct {
	Type       string `json:"type"`
	Payload    []byte `json:"payload"`
	ID         string `json:"id"`
	MaxRetry   *int   `json:"max_retry"`
	TimeoutS   int64  `json:"timeout_s"`
	UniqueS    int64  `json:"unique_s"`
	ProcessInS int64  `json:"process_in_s"`
	RetentionS int64  `json:"retention_s"`
	Group      string `json:"group"`
}

func submit(address string) error {
	client := asynq.NewClient(connection(address))
	defer client.Close()
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var task submission
		if err := json.Unmarshal(input.Bytes(), &task); err != nil {
			return err
		}
		if _, err := client.Enqueue(asynq.NewTask(task.Type, task.Payload), task.options()...); err != nil {
			return err
		}
	}
	return input.Err()
}

func (s *submission) options() []asynq.Option {
	options := []asynq.Option{asynq.TaskID(s.ID)}
	for _, one := range []struct {
		seconds int64
		option  func(time.Duration) asynq.Option
	}{
		{s.TimeoutS, asynq.Timeout}, {s.UniqueS, asynq.Unique}, {s.ProcessInS, asynq.ProcessIn}, {s.RetentionS, asynq.Retention},
	} {
		if one.seconds != 0 {
			options = append(options, one.option(time.Duration(one.seconds)*time.Second))
		}
	}
	if s.MaxRetry != nil {
		options = append(options, asynq.MaxRetry(*s.MaxRetry))
	}
	if s.Group != "" {
		options = append(options, asynq.Group(s.Group))
	}
	return options
}
