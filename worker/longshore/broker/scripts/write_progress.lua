-- Store how far a running task is, and tell whoever waits for it.
--
-- KEYS[1] asynq:{<queue>}:t:<id>               hash, the task
-- KEYS[2] longshore:{<queue>}:waiting:<id>     hash: channel → what is published there
-- ARGV[1] progress                             JSON
--
-- Reply: 1 stored, 0 the task is not active and nothing was written.
--
-- Atomic for the reason in write_result.lua. The field is ours alone; Go peers leave it as it is, and it goes with the
-- attempt or with the task.
if redis.call("HGET", KEYS[1], "state") ~= "active" then
  return 0
end
redis.call("HSET", KEYS[1], "progress", ARGV[1])
local waiting = redis.pcall("HGETALL", KEYS[2])
for w = 1, #waiting, 2 do
  redis.pcall("PUBLISH", waiting[w], waiting[w + 1])
end
return 1
