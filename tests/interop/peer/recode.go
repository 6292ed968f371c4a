package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq/internal/base"
)

// encoded is one line of stdin: the bytes of a message, and which message it is.
type encoded struct {
	Kind string `json:"kind"`
	Data []byte `json:"data"` // base64 in JSON
}

// recoded is one line of stdout: what Asynq reads in them, and the bytes it makes of that.
type recoded struct {
	Value any    `json:"value"`
	Data  []byte `json:"data"`
}

// instant is a time as JSON can say it in any year.
type instant struct {
	Seconds int64 `json:"s"`
	Nanos   int   `json:"ns"`
}

func at(moment time.Time) instant { return instant{moment.Unix(), moment.Nanosecond()} }

// recode passes messages through Asynq's codec.
func recode([]string) error {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	for input.Scan() {
		var one encoded
		if err := json.Unmarshal(input.Bytes(), &one); err != nil {
			return err
		}
		reply, err := one.pass()
		if err != nil {
			return fmt.Errorf("%s %x: %w", one.Kind, one.Data, err)
		}
		if err := print(reply); err != nil {
			return err
		}
	}
	return input.Err()
}

func (e *encoded) pass() (reply recoded, err error) {
	switch e.Kind {
	case "task":
		value, err := base.DecodeMessage(e.Data)
		if err != nil {
			return reply, err
		}
		reply.Value = value
		reply.Data, err = base.EncodeMessage(value)
		return reply, err
	case "server":
		value, err := base.DecodeServerInfo(e.Data)
		if err != nil {
			return reply, err
		}
		reply.Value = map[string]any{
			"Host": value.Host, "PID": value.PID, "ServerID": value.ServerID, "Concurrency": value.Concurrency,
			"Queues": value.Queues, "StrictPriority": value.StrictPriority, "Status": value.Status,
			"Started": at(value.Started), "ActiveWorkerCount": value.ActiveWorkerCount,
		}
		reply.Data, err = base.EncodeServerInfo(value)
		return reply, err
	case "worker":
		value, err := base.DecodeWorkerInfo(e.Data)
		if err != nil {
			return reply, err
		}
		reply.Value = map[string]any{
			"Host": value.Host, "PID": value.PID, "ServerID": value.ServerID, "ID": value.ID, "Type": value.Type,
			"Payload": value.Payload, "Queue": value.Queue, "Started": at(value.Started), "Deadline": at(value.Deadline),
		}
		reply.Data, err = base.EncodeWorkerInfo(value)
		return reply, err
	case "entry":
		value, err := base.DecodeSchedulerEntry(e.Data)
		if err != nil {
			return reply, err
		}
		reply.Value = map[string]any{
			"ID": value.ID, "Spec": value.Spec, "Type": value.Type, "Payload": value.Payload, "Opts": value.Opts,
			"Next": at(value.Next), "Prev": at(value.Prev),
		}
		reply.Data, err = base.EncodeSchedulerEntry(value)
		return reply, err
	case "event":
		value, err := base.DecodeSchedulerEnqueueEvent(e.Data)
		if err != nil {
			return reply, err
		}
		reply.Value = map[string]any{"TaskID": value.TaskID, "EnqueuedAt": at(value.EnqueuedAt)}
		reply.Data, err = base.EncodeSchedulerEnqueueEvent(value)
		return reply, err
	}
	return reply, fmt.Errorf("unknown kind %q", e.Kind)
}
