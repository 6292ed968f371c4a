package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/hibiken/asynq"
)

// action is one line of stdin: what the inspector is to do. Without an id it acts on all of a state, or of a group.
type action struct {
	Act   string `json:"act"`
	Queue string `json:"queue"`
	ID    string `json:"id"`
	State string `json:"state"`
	Group string `json:"group"`
	Force bool   `json:"force"`
	// the new payload of a task, base64 in JSON
	Payload []byte `json:"payload"`
}

// administer acts through Asynq's inspector; the answer to each line is a count, or the error.
func administer(arguments []string) error {
	flags := flag.NewFlagSet("administer", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	_ = flags.Parse(arguments)

	inspector := asynq.NewInspector(connection(*address))
	defer inspector.Close()
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var one action
		if err := json.Unmarshal(input.Bytes(), &one); err != nil {
			return err
		}
		count, err := one.do(inspector)
		reply := map[string]any{"count": count}
		if err != nil {
			reply["error"] = err.Error()
		}
		if err := print(reply); err != nil {
			return err
		}
	}
	return input.Err()
}

func (a *action) do(i *asynq.Inspector) (int, error) {
	if a.ID != "" || a.State == "" {
		return 1, a.doOne(i)
	}
	if a.State == "aggregating" {
		ofGroup := map[string]func(queue, group string) (int, error){
			"run": i.RunAllAggregatingTasks, "archive": i.ArchiveAllAggregatingTasks, "delete": i.DeleteAllAggregatingTasks,
		}
		return ofGroup[a.Act](a.Queue, a.Group)
	}
	all := map[string]func(queue string) (int, error){
		"run scheduled": i.RunAllScheduledTasks, "run retry": i.RunAllRetryTasks, "run archived": i.RunAllArchivedTasks,
		"archive pending": i.ArchiveAllPendingTasks, "archive scheduled": i.ArchiveAllScheduledTasks,
		"archive retry":  i.ArchiveAllRetryTasks,
		"delete pending": i.DeleteAllPendingTasks, "delete scheduled": i.DeleteAllScheduledTasks,
		"delete retry": i.DeleteAllRetryTasks, "delete archived": i.DeleteAllArchivedTasks,
		"delete completed": i.DeleteAllCompletedTasks,
	}[a.Act+" "+a.State]
	if all == nil {
		return 0, fmt.Errorf("the inspector cannot %s all tasks that are %s", a.Act, a.State)
	}
	return all(a.Queue)
}

func (a *action) doOne(i *asynq.Inspector) error {
	switch a.Act {
	case "run":
		return i.RunTask(a.Queue, a.ID)
	case "archive":
		return i.ArchiveTask(a.Queue, a.ID)
	case "delete":
		return i.DeleteTask(a.Queue, a.ID)
	case "update payload":
		return i.UpdateTaskPayload(a.Queue, a.ID, a.Payload)
	case "cancel":
		return i.CancelProcessing(a.ID)
	case "pause":
		return i.PauseQueue(a.Queue)
	case "unpause":
		return i.UnpauseQueue(a.Queue)
	case "delete queue":
		return i.DeleteQueue(a.Queue, a.Force)
	}
	return fmt.Errorf("unknown action %q", a.Act)
}
