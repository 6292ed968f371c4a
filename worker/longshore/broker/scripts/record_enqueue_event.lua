-- Add an event to a periodic entry's history, which keeps the newest.
--
-- KEYS[1] asynq:scheduler_history:<entry id>   zset
-- ARGV[1] time of the event                    Unix seconds
-- ARGV[2] SchedulerEnqueueEvent bytes
-- ARGV[3] size                                 events to keep
-- ARGV[4] lifetime of the history              seconds from now
--
-- Reply: OK.
--
-- Atomic so that several writers together keep no more than the size. Unlike Asynq's, a history has a lifetime: that of
-- an entry whose scheduler was killed, or that has changed its name, would stay for ever.
redis.call("ZREMRANGEBYRANK", KEYS[1], 0, -ARGV[3])
redis.call("ZADD", KEYS[1], ARGV[1], ARGV[2])
redis.call("EXPIRE", KEYS[1], ARGV[4])
return redis.status_reply("OK")
