-- Let no more tasks be taken from a queue that is to be removed, unless some are being worked on.
--
-- KEYS[1] asynq:{<queue>}:active             list
-- KEYS[2] asynq:{<queue>}:aggregation_sets   zset
-- KEYS[3] asynq:{<queue>}:paused             string
-- ARGV[1] now                                Unix seconds
--
-- Reply: 0 it is paused; otherwise how many active tasks and groups under aggregation it has, and nothing was written.
--
-- Atomic so that no task is taken between the look and the pause.
local busy = redis.call("LLEN", KEYS[1]) + redis.call("ZCOUNT", KEYS[2], "(" .. ARGV[1], "+inf")
if busy == 0 then
  redis.call("SET", KEYS[3], ARGV[1], "NX")
end
return busy
