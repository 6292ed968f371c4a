-- Read one task.
--
-- KEYS[1] asynq:{<queue>}:t:<id>   hash, the task
-- KEYS[2] asynq:{<queue>}:lease    zset
-- ARGV[1] id
-- ARGV[2] asynq:{<queue>}:         prefix of the queue's keys
-- ARGV[3] now                      Unix seconds
--
-- Reply: nil when there is no such task, otherwise msg, state, result or nil, score (nil unless scheduled or retry),
--        1 when its lease has ended or is missing and 0 otherwise (it means something for active tasks only),
--        progress or nil (likewise).
--        Nothing is written.
--
-- Atomic so that state and score belong together.
local fields = redis.call("HMGET", KEYS[1], "msg", "state", "result", "progress")
local state = fields[2]
if not state then
  return false
end
local score = false
if state == "scheduled" or state == "retry" then
  score = redis.call("ZSCORE", ARGV[2] .. state, ARGV[1])
end
local lease = redis.call("ZSCORE", KEYS[2], ARGV[1])
local lapsed = (lease and tonumber(lease) > tonumber(ARGV[3])) and 0 or 1
return {fields[1], state, fields[3], score, lapsed, fields[4]}
