package main

import (
	"bytes"

	"github.com/hibiken/asynq"
)

// merge makes one task of a group's: its type is "merged:" and the group's name, its payload theirs, one a line.
func merge(group string, tasks []*asynq.Task) *asynq.Task {
	payloads := make([][]byte, len(tasks))
	for i, task := range tasks {
		payloads[i] = task.Payload()
	}
	return asynq.NewTask("merged:"+group, bytes.Join(payloads, []byte("\n")))
}
