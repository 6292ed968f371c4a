package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"time"

	"github.com/hibiken/asynq/internal/base"
)

// vector is one value and the bytes Asynq makes of it. Maps have at most one entry: the order of more is random.
type vector struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	Hex   string `json:"hex"`
}

type keyVector struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

func vectors([]string) error {
	moment := time.Date(2024, 2, 29, 23, 59, 58, 123456000, time.UTC)
	day := time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC)
	result := map[string][]vector{}
	add := func(kind, name string, value any, data []byte, err error) {
		if err != nil {
			panic(err)
		}
		result[kind] = append(result[kind], vector{name, value, hex.EncodeToString(data)})
	}

	for name, message := range map[string]*base.TaskMessage{
		"plain": {Type: "email:send", Payload: []byte(`{"to":1}`), ID: "id1", Queue: "default", Retry: 25, Timeout: 1800},
		"every field": {
			Type: "image:resize", Payload: []byte{0, 1, 0xfe, 0xff}, Headers: map[string]string{"trace": "a/b"},
			ID: "3f1c6c0e-6c6b-4b3e-9a7e-0d3f5c9b8a11", Queue: "critical", Retry: 3, Retried: 2, ErrorMsg: "boom: été",
			LastFailedAt: 1709251198, Timeout: 90, Deadline: 1709337598, UniqueKey: "asynq:{critical}:unique:image:resize:00",
			GroupKey: "g", Retention: 86400, CompletedAt: 1709251199,
		},
		"nothing but names": {Type: "t", ID: "i", Queue: "q"},
		"no retries":        {Type: "t", ID: "i", Queue: "q", Retry: 0, Timeout: 1800},
		"far deadline":      {Type: "t", ID: "i", Queue: "q", Retry: 25, Deadline: 253402300799},
		"largest numbers":   {Type: "t", ID: "i", Queue: "q", Retry: 2147483647, Retried: 2147483647},
		"Unicode names":     {Type: "t:ü", Payload: []byte("ß"), ID: "i☃", Queue: "q 🚢", Retry: 25, Timeout: 1800},
	} {
		data, err := base.EncodeMessage(message)
		add("tasks", name, message, data, err)
	}

	for name, info := range map[string]*base.ServerInfo{
		"busy": {
			Host: "pod-1", PID: 17, ServerID: "s1", Concurrency: 10, Queues: map[string]int{"critical": 6},
			StrictPriority: true, Status: "active", Started: moment, ActiveWorkerCount: 3,
		},
		"closed": {Host: "unknown-host", PID: 1, ServerID: "s2", Concurrency: 1, Status: "closed", Started: day},
	} {
		data, err := base.EncodeServerInfo(info)
		add("servers", name, info, data, err)
	}

	worker := &base.WorkerInfo{
		Host: "pod-1", PID: 17, ServerID: "s1", ID: "id1", Type: "email:send", Payload: []byte(`{"to":1}`),
		Queue: "default", Started: moment, Deadline: moment.Add(30 * time.Minute),
	}
	data, err := base.EncodeWorkerInfo(worker)
	add("workers", "running", worker, data, err)

	for name, entry := range map[string]*base.SchedulerEntry{
		"with options": {
			ID: "e1", Spec: "@every 30s", Type: "report", Payload: []byte("{}"), Opts: []string{`Queue("low")`, "MaxRetry(3)"},
			Next: moment.Add(time.Minute), Prev: moment,
		},
		"never enqueued": {ID: "e2", Spec: "0 0 30 2 *", Type: "report"},
	} {
		data, err := base.EncodeSchedulerEntry(entry)
		add("entries", name, entry, data, err)
	}

	event := &base.SchedulerEnqueueEvent{TaskID: "id1", EnqueuedAt: moment}
	data, err = base.EncodeSchedulerEnqueueEvent(event)
	add("events", "one", event, data, err)

	document := map[string]any{
		"keys": []keyVector{
			{"queues", base.AllQueues},
			{"servers", base.AllServers},
			{"workers_of_all", base.AllWorkers},
			{"schedulers", base.AllSchedulers},
			{"cancel_channel", base.CancelChannel},
			{"task", base.TaskKey("low", "id1")},
			{"pending", base.PendingKey("low")},
			{"active", base.ActiveKey("low")},
			{"lease", base.LeaseKey("low")},
			{"scheduled", base.ScheduledKey("low")},
			{"retry", base.RetryKey("low")},
			{"archived", base.ArchivedKey("low")},
			{"completed", base.CompletedKey("low")},
			{"paused", base.PausedKey("low")},
			{"processed_total", base.ProcessedTotalKey("low")},
			{"failed_total", base.FailedTotalKey("low")},
			{"processed", base.ProcessedKey("low", day)},
			{"failed", base.FailedKey("low", day)},
			{"groups", base.AllGroups("low")},
			{"group", base.GroupKey("low", "g1")},
			{"server", base.ServerInfoKey("pod-1", 17, "s1")},
			{"workers", base.WorkersKey("pod-1", 17, "s1")},
			{"scheduler", base.SchedulerEntriesKey("pod-1:17:s1")},
			{"scheduler_history", base.SchedulerHistoryKey("e1")},
			{"unique, payload absent", base.UniqueKey("default", "email:send", nil)},
			{"unique, payload empty", base.UniqueKey("default", "email:send", []byte{})},
			{"unique", base.UniqueKey("default", "email:send", []byte(`{"to":1}`))},
		},
	}
	for kind, list := range result {
		document[kind] = sorted(list)
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
