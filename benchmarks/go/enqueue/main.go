// A producer of the Go library: so many tasks from so many goroutines, as fast as it can. Prints how long it took, in
// seconds. Waits for a line of input before it begins, so that starting is not measured, and for another before it ends.
//
//	enqueue -redis 127.0.0.1:6379 -tasks 30000 -goroutines 16
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

func main() {
	redis := flag.String("redis", "127.0.0.1:6379", "address of Redis")
	tasks := flag.Int("tasks", 30000, "how many")
	goroutines := flag.Int("goroutines", 16, "how many enqueue at the same time")
	flag.Parse()
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: *redis})
	defer client.Close()
	if _, err := client.Enqueue(asynq.NewTask("bench:noop", nil)); err != nil { // connects, and loads the script
		log.Fatal(err)
	}
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		log.Fatal(err)
	}
	began := time.Now()
	var group sync.WaitGroup
	for g := 0; g < *goroutines; g++ {
		group.Add(1)
		go func(first int) {
			defer group.Done()
			for n := first; n < *tasks; n += *goroutines {
				payload := []byte(fmt.Sprintf(`{"n":%d}`, n))
				if _, err := client.Enqueue(asynq.NewTask("bench:noop", payload)); err != nil {
					log.Fatal(err)
				}
			}
		}(g)
	}
	group.Wait()
	fmt.Println(time.Since(began).Seconds())
	_, _ = input.ReadString('\n') // until it was looked at
}
