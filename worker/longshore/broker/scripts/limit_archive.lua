-- Set the limits of a queue's archive, and trim it by them, a bounded step at a time.
--
-- KEYS[1] longshore:{<queue>}:archive   hash, the limits
-- KEYS[2] asynq:{<queue>}:archived      zset
-- ARGV[1] asynq:{<queue>}:t:            prefix of the tasks' keys
-- ARGV[2] now                           Unix seconds
-- ARGV[3] most tasks
-- ARGV[4] longest age                   seconds
-- ARGV[5] lifetime                      of the limits, seconds
-- ARGV[6] chunk                         at most so many tasks are deleted for each of the two reasons
--
-- Reply: {tasks deleted, tasks ever deleted by these limits, tasks that are still beyond the limits,
--         when the oldest of the others was archived (Unix seconds; "" for none)}
--
-- Atomic so that no worker archives by limits that are half written. They have a lifetime, which whoever sets them renews:
-- limits that nobody stands for any more end by themselves.
redis.call("ZCARD", KEYS[2]) -- fails here, before anything is written, when it is of another type
redis.call("HSET", KEYS[1], "max_tasks", ARGV[3], "max_age_s", ARGV[4])
redis.call("EXPIRE", KEYS[1], ARGV[5])
local deleted = trim_archive(KEYS[2], ARGV[1], KEYS[1], tonumber(ARGV[2]), nil, nil, ARGV[6])
local cutoff = ARGV[2] - ARGV[4]
local expired = redis.call("ZCOUNT", KEYS[2], "-inf", cutoff)
local left = math.max(expired, redis.call("ZCARD", KEYS[2]) - ARGV[3])
local oldest = redis.call("ZRANGEBYSCORE", KEYS[2], "(" .. cutoff, "+inf", "WITHSCORES", "LIMIT", 0, 1)
return {deleted, tonumber(redis.call("HGET", KEYS[1], "trimmed") or 0), left, oldest[2] or ""}
