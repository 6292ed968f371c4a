-- Give active tasks back: they are the next to be taken.
--
-- KEYS[1] asynq:{<queue>}:active    list
-- KEYS[2] asynq:{<queue>}:lease     zset
-- KEYS[3] asynq:{<queue>}:pending   list
-- ARGV[1] asynq:{<queue>}:t:        prefix of the tasks' keys
-- ARGV[2] now                       Unix nanoseconds
-- ARGV[3…] ids, in the order in which they shall be taken
--
-- Reply: positions (from 1) of the tasks that were no longer active; nothing was written for those.
--
-- Atomic for the reason in done.lua. Unlike Asynq's, it records since when the task waits: without that the queue's
-- latency reads as zero while such a task is the oldest.
redis.call("LLEN", KEYS[3]) -- fails here, before anything is written, when it is of another type
local refused = {}
-- the list's tail is taken first, so the first one is pushed last
for i = #ARGV, 3, -1 do
  local id = ARGV[i]
  if leave_active(KEYS[1], id) then
    redis.call("ZREM", KEYS[2], id)
    redis.call("RPUSH", KEYS[3], id)
    redis.call("HSET", ARGV[1] .. id, "state", "pending", "pending_since", ARGV[2])
    redis.call("HDEL", ARGV[1] .. id, "result", "progress")
  else
    refused[#refused + 1] = i - 2
  end
end
return refused
