// The shop's producer: a Go service that hands work to the Python workers with the released Asynq client, unchanged.
//
//	go run . --redis 127.0.0.1:6379 --count 2000
//
// It enqueues welcome e-mails and, for every --image-every-th task, an image thumbnail, and prints one line of JSON that
// says what it did. With --ids it also writes the id of each task it created to a file, one a line, after its queue.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

type welcomeEmail struct {
	UserID  int    `json:"user_id"`
	Name    string `json:"name"`
	Address string `json:"address"`
}

type thumbnail struct {
	ImageID int `json:"image_id"`
	Width   int `json:"width"`
}

type summary struct {
	Enqueued  int            `json:"enqueued"`
	Queues    map[string]int `json:"queues"`
	FirstAt   float64        `json:"first_at"` // Unix seconds, just before the first enqueue
	LastAt    float64        `json:"last_at"`  // Unix seconds, just after the last one
	PerSecond float64        `json:"per_second"`
	Client    string         `json:"client"`
}

func main() {
	addr := flag.String("redis", "127.0.0.1:6379", "address of Redis, `host:port`; its password is read from REDIS_PASSWORD")
	count := flag.Int("count", 100, "how many tasks to enqueue")
	imageEvery := flag.Int("image-every", 4, "make every n-th task an image thumbnail; 0: e-mails only")
	parallel := flag.Int("parallel", 4, "how many goroutines enqueue")
	retention := flag.Duration("retention", time.Hour, "how long Redis keeps a finished task")
	ids := flag.String("ids", "", "write `file` with a line \"queue id\" for each task")
	flag.Parse()
	if *count < 1 || *parallel < 1 || *imageEvery < 0 {
		fail("--count and --parallel must be at least 1, --image-every at least 0")
	}

	client := asynq.NewClient(asynq.RedisClientOpt{Addr: *addr, Password: os.Getenv("REDIS_PASSWORD")})
	defer client.Close()
	if err := client.Ping(); err != nil {
		fail("Redis at %s: %v", *addr, err)
	}

	created := make([]*asynq.TaskInfo, *count)
	errs := make(chan error, *parallel)
	var group sync.WaitGroup
	first := time.Now()
	for worker := 0; worker < *parallel; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := worker; i < *count; i += *parallel {
				info, err := client.Enqueue(task(i, *imageEvery), options(i, *imageEvery, *retention)...)
				if err != nil {
					errs <- fmt.Errorf("task %d: %w", i, err)
					return
				}
				created[i] = info
			}
		}()
	}
	group.Wait()
	last := time.Now()
	select {
	case err := <-errs:
		fail("%v", err)
	default:
	}

	if *ids != "" {
		if err := writeIDs(*ids, created); err != nil {
			fail("%v", err)
		}
	}
	done := summary{
		Enqueued: *count, Queues: map[string]int{}, FirstAt: unix(first), LastAt: unix(last),
		PerSecond: float64(*count) / last.Sub(first).Seconds(), Client: "github.com/hibiken/asynq",
	}
	for _, info := range created {
		done.Queues[info.Queue]++
	}
	if err := json.NewEncoder(os.Stdout).Encode(done); err != nil {
		fail("%v", err)
	}
}

func isImage(i, every int) bool { return every > 0 && i%every == every-1 }

func task(i, imageEvery int) *asynq.Task {
	kind, value := "email:welcome", any(welcomeEmail{
		UserID: i, Name: fmt.Sprintf("Customer %d", i), Address: fmt.Sprintf("customer-%d@example.com", i),
	})
	if isImage(i, imageEvery) {
		kind, value = "image:thumbnail", thumbnail{ImageID: i, Width: 64}
	}
	payload, err := json.Marshal(value)
	if err != nil {
		fail("%v", err)
	}
	return asynq.NewTask(kind, payload)
}

func options(i, imageEvery int, retention time.Duration) []asynq.Option {
	queue := "mail"
	if isImage(i, imageEvery) {
		queue = "images"
	}
	return []asynq.Option{
		asynq.Queue(queue), asynq.MaxRetry(5), asynq.Timeout(time.Minute), asynq.Retention(retention),
	}
}

func writeIDs(path string, created []*asynq.TaskInfo) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(file)
	for _, info := range created {
		fmt.Fprintln(lines, info.Queue, info.ID)
	}
	if err := lines.Flush(); err != nil {
		return err
	}
	return file.Close()
}

func unix(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "producer: "+format+"\n", args...)
	os.Exit(1)
}
