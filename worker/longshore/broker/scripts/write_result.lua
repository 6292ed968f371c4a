-- Store a running task's result.
--
-- KEYS[1] asynq:{<queue>}:t:<id>   hash, the task
-- ARGV[1] result
--
-- Reply: 1 stored, 0 the task is not active and nothing was written.
--
-- Atomic so that a result cannot bring back a deleted task as a hash of its own, which would block the id for ever.
if redis.call("HGET", KEYS[1], "state") ~= "active" then
  return 0
end
redis.call("HSET", KEYS[1], "result", ARGV[1])
return 1
