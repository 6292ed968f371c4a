package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hibiken/asynq"
)

func serve(address string) error {
	server := asynq.NewServer(connection(address), asynq.Config{
		Concurrency:              10,
		LogLevel:                 asynq.FatalLevel,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return time.Minute },
		ShutdownTimeout:          time.Second,
		DelayedTaskCheckInterval: time.Second, // five by itself
	})
	err := server.Start(asynq.HandlerFunc(func(ctx context.Context, task *asynq.Task) error {
		switch string(task.Payload()) {
		case "fail":
			return errors.New("told to fail")
		case "panic":
			panic("told to panic")
		case "skip":
			return asynq.SkipRetry
		case "sleep":
			<-ctx.Done()
			return ctx.Err()
		}
		_, err := task.ResultWriter().Write(task.Payload())
		return err
	}))
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Shutdown()
	return nil
}
