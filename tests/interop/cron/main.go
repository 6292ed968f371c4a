// Command cron answers what robfig/cron says: one JSON question a line in, one JSON answer a line out.
//
//	{"spec": "*/5 * * * *", "from": 1700000000, "count": 3}
//	{"next": [1700000100, …]}   whole Unix seconds; shorter than count when there is no further tick
//	{"error": "…"}              the spec was refused
//	{"panic": "…"}              the parser or the search panicked
//	{"hangs": true}             the search does not end: no answer within two seconds
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

type question struct {
	Spec  string `json:"spec"`
	From  int64  `json:"from"`
	Count int    `json:"count"`
}

type answer struct {
	Next  []int64 `json:"next"`
	Error string  `json:"error,omitempty"`
	Panic string  `json:"panic,omitempty"`
	Hangs bool    `json:"hangs,omitempty"`
}

func ask(q question) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{Panic: fmt.Sprint(p)}
		}
	}()
	schedule, err := cron.ParseStandard(q.Spec)
	if err != nil {
		return answer{Error: err.Error()}
	}
	// As Asynq's scheduler and the CronJob controller ask: from a time in UTC.
	t := time.Unix(q.From, 0).UTC()
	a.Next = []int64{}
	for len(a.Next) < q.Count {
		t = schedule.Next(t)
		if t.IsZero() {
			break
		}
		a.Next = append(a.Next, t.Unix())
	}
	return a
}

// askInTime leaves a search that does not end behind: a goroutine cannot be stopped, the process ends soon enough.
func askInTime(q question) answer {
	done := make(chan answer, 1)
	go func() { done <- ask(q) }()
	select {
	case a := <-done:
		return a
	case <-time.After(2 * time.Second):
		return answer{Hangs: true}
	}
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if err := out.Encode(askInTime(q)); err != nil {
			os.Exit(1)
		}
	}
}
