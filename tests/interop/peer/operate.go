package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/hibiken/asynq/internal/base"
	"github.com/hibiken/asynq/internal/rdb"
	"github.com/hibiken/asynq/internal/timeutil"
	"github.com/redis/go-redis/v9"
)

// operation is one line of stdin. Times are in Unix nanoseconds or, where Redis holds seconds, in seconds.
type operation struct {
	Op        string   `json:"op"`
	NowNS     int64    `json:"now_ns"`
	Queue     string   `json:"queue"`
	ID        string   `json:"id"`
	Message   []byte   `json:"msg"` // TaskMessage bytes, base64 in JSON
	AtS       int64    `json:"at_s"`
	TTLS      int64    `json:"ttl_s"`
	Group     string   `json:"group"`
	State     string   `json:"state"`
	Error     string   `json:"error"`
	IsFailure bool     `json:"is_failure"`
	IDs       []string `json:"ids"`
	Result    []byte   `json:"result"`
}

// answer is one line of stdout.
type answer struct {
	Error string `json:"error,omitempty"`
	ID    string `json:"id,omitempty"`
}

func sorted(list []vector) []vector {
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

func operate(arguments []string) error {
	flags := flag.NewFlagSet("operate", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	_ = flags.Parse(arguments)

	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	for input.Scan() {
		var op operation
		if err := json.Unmarshal(input.Bytes(), &op); err != nil {
			return err
		}
		// A new one for each line: it remembers which queues it has registered.
		broker := rdb.NewRDB(connection(*address).MakeRedisClient().(redis.UniversalClient))
		broker.SetClock(timeutil.NewSimulatedClock(time.Unix(0, op.NowNS)))
		id, err := carryOut(broker, op)
		broker.Close()
		reply := answer{ID: id}
		if err != nil {
			reply.Error = err.Error()
		}
		if err := print(reply); err != nil {
			return err
		}
	}
	return input.Err()
}

func carryOut(r *rdb.RDB, op operation) (string, error) {
	ctx := context.Background()
	var message *base.TaskMessage
	if op.Message != nil {
		decoded, err := base.DecodeMessage(op.Message)
		if err != nil {
			return "", err
		}
		message = decoded
	}
	at := time.Unix(op.AtS, 0)
	ttl := time.Duration(op.TTLS) * time.Second
	switch op.Op {
	case "enqueue":
		return "", r.Enqueue(ctx, message)
	case "enqueue unique":
		return "", r.EnqueueUnique(ctx, message, ttl)
	case "schedule":
		return "", r.Schedule(ctx, message, at)
	case "schedule unique":
		return "", r.ScheduleUnique(ctx, message, at, ttl)
	case "add to group":
		return "", r.AddToGroup(ctx, message, op.Group)
	case "add to group unique":
		return "", r.AddToGroupUnique(ctx, message, op.Group, ttl)
	case "dequeue":
		taken, _, err := r.Dequeue(op.Queue)
		if err != nil {
			return "", err
		}
		return taken.ID, nil
	case "done":
		return "", r.Done(ctx, message)
	case "complete":
		return "", r.MarkAsComplete(ctx, message)
	case "retry":
		return "", r.Retry(ctx, message, at, op.Error, op.IsFailure)
	case "archive":
		return "", r.Archive(ctx, message, op.Error)
	case "requeue":
		return "", r.Requeue(ctx, message)
	case "forward":
		return "", r.ForwardIfReady(op.Queue)
	case "delete expired completed":
		return "", r.DeleteExpiredCompletedTasks(op.Queue, 100)
	case "extend lease":
		_, err := r.ExtendLease(op.Queue, op.IDs...)
		return "", err
	case "write result":
		_, err := r.WriteResult(op.Queue, op.ID, op.Result)
		return "", err
	case "run task":
		return "", r.RunTask(op.Queue, op.ID)
	case "archive task":
		return "", r.ArchiveTask(op.Queue, op.ID)
	case "delete task":
		return "", r.DeleteTask(op.Queue, op.ID)
	case "run all", "archive all", "delete all":
		return "", allAtOnce(r, op)
	case "take group":
		return r.AggregationCheck(op.Queue, op.Group, time.Unix(0, op.NowNS), time.Second, 0, 0)
	case "reclaim groups":
		return "", r.ReclaimStaleAggregationSets(op.Queue)
	case "pause":
		return "", r.Pause(op.Queue)
	case "unpause":
		return "", r.Unpause(op.Queue)
	}
	return "", fmt.Errorf("unknown operation %q", op.Op)
}

// allAtOnce acts on every task of a state, or of a group.
func allAtOnce(r *rdb.RDB, op operation) error {
	acts := map[string]func(queue string) (int64, error){
		"run all scheduled":     r.RunAllScheduledTasks,
		"run all retry":         r.RunAllRetryTasks,
		"run all archived":      r.RunAllArchivedTasks,
		"archive all pending":   r.ArchiveAllPendingTasks,
		"archive all scheduled": r.ArchiveAllScheduledTasks,
		"archive all retry":     r.ArchiveAllRetryTasks,
		"delete all pending":    r.DeleteAllPendingTasks,
		"delete all scheduled":  r.DeleteAllScheduledTasks,
		"delete all retry":      r.DeleteAllRetryTasks,
		"delete all archived":   r.DeleteAllArchivedTasks,
		"delete all completed":  r.DeleteAllCompletedTasks,
	}
	ofGroup := map[string]func(queue, group string) (int64, error){
		"run all aggregating":     r.RunAllAggregatingTasks,
		"archive all aggregating": r.ArchiveAllAggregatingTasks,
		"delete all aggregating":  r.DeleteAllAggregatingTasks,
	}
	name := op.Op + " " + op.State
	if act, ok := acts[name]; ok {
		_, err := act(op.Queue)
		return err
	}
	if act, ok := ofGroup[name]; ok {
		_, err := act(op.Queue, op.Group)
		return err
	}
	return fmt.Errorf("unknown operation %q", name)
}
