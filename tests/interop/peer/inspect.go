package main

import (
	"flag"

	"github.com/hibiken/asynq"
)

// inspect prints what Asynq's inspector, and so its CLI and web UI, sees of one queue and of the servers.
func inspect(arguments []string) error {
	flags := flag.NewFlagSet("inspect", flag.ExitOnError)
	address := flags.String("redis", "127.0.0.1:6379", "host:port")
	queue := flags.String("queue", "default", "queue")
	entry := flags.String("entry", "", "scheduler entry whose events are wanted")
	_ = flags.Parse(arguments)

	inspector := asynq.NewInspector(connection(*address))
	defer inspector.Close()
	document := map[string]any{}
	queues, err := inspector.Queues()
	if err != nil {
		return err
	}
	document["queues"] = queues
	if document["queue"], err = inspector.GetQueueInfo(*queue); err != nil {
		return err
	}
	if document["history"], err = inspector.History(*queue, 2); err != nil {
		return err
	}
	for state, list := range map[string]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		"pending":   inspector.ListPendingTasks,
		"active":    inspector.ListActiveTasks,
		"scheduled": inspector.ListScheduledTasks,
		"retry":     inspector.ListRetryTasks,
		"archived":  inspector.ListArchivedTasks,
		"completed": inspector.ListCompletedTasks,
	} {
		if document[state], err = list(*queue, asynq.PageSize(1000)); err != nil {
			return err
		}
	}
	groups, err := inspector.Groups(*queue)
	if err != nil {
		return err
	}
	aggregating := []*asynq.TaskInfo{}
	for _, group := range groups {
		waiting, err := inspector.ListAggregatingTasks(*queue, group.Group, asynq.PageSize(1000))
		if err != nil {
			return err
		}
		aggregating = append(aggregating, waiting...)
	}
	document["groups"], document["aggregating"] = groups, aggregating
	if document["servers"], err = inspector.Servers(); err != nil {
		return err
	}
	entries, err := inspector.SchedulerEntries()
	if err != nil {
		return err
	}
	// Opts are interfaces whose String method says what they are.
	views := []map[string]any{}
	for _, e := range entries {
		options := []string{}
		for _, option := range e.Opts {
			options = append(options, option.String())
		}
		views = append(views, map[string]any{
			"ID": e.ID, "Spec": e.Spec, "Type": e.Task.Type(), "Payload": e.Task.Payload(), "Opts": options,
			"Next": e.Next, "Prev": e.Prev,
		})
	}
	document["entries"] = views
	if *entry != "" {
		if document["events"], err = inspector.ListSchedulerEnqueueEvents(*entry); err != nil {
			return err
		}
	}
	return print(document)
}
