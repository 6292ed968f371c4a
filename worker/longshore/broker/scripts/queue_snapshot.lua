-- Read a queue's depth.
--
-- KEYS[1]  asynq:{<queue>}:pending            list
-- KEYS[2]  asynq:{<queue>}:active             list
-- KEYS[3]  asynq:{<queue>}:scheduled          zset
-- KEYS[4]  asynq:{<queue>}:retry              zset
-- KEYS[5]  asynq:{<queue>}:archived           zset
-- KEYS[6]  asynq:{<queue>}:completed          zset
-- KEYS[7]  asynq:{<queue>}:groups             set
-- KEYS[8]  asynq:{<queue>}:paused             string
-- KEYS[9]  asynq:{<queue>}:processed:<date>   integer
-- KEYS[10] asynq:{<queue>}:failed:<date>      integer
-- KEYS[11] asynq:{<queue>}:processed           integer
-- KEYS[12] asynq:{<queue>}:failed              integer
-- ARGV[1]  now                                Unix seconds
-- ARGV[2]  asynq:{<queue>}:t:                 prefix of the tasks' keys
-- ARGV[3]  asynq:{<queue>}:g:                 prefix of the groups' keys
-- ARGV[4…] later moments                      Unix seconds; none unless somebody looks ahead
--
-- Reply: pending, active, scheduled, retry, archived, completed, aggregating, due (all counts), value of paused or nil,
--        pending_since of the oldest pending task or nil, processed and failed today and ever (nil for none); then for
--        each later moment the tasks that are due by then.
--        Nothing is written.
--
-- Atomic so that a task on its way between two states is counted once.
local function due(moment)
  return redis.call("ZCOUNT", KEYS[3], "-inf", moment) + redis.call("ZCOUNT", KEYS[4], "-inf", moment)
end
local aggregating = 0
for _, group in ipairs(redis.call("SMEMBERS", KEYS[7])) do
  local size = redis.pcall("ZCARD", ARGV[3] .. group)
  -- a key of another type in a group's or a task's place must not hide the queue
  aggregating = aggregating + (type(size) == "number" and size or 0)
end
local oldest = redis.call("LINDEX", KEYS[1], -1)
local since = oldest and redis.pcall("HGET", ARGV[2] .. oldest, "pending_since")
local reply = {
  redis.call("LLEN", KEYS[1]),
  redis.call("LLEN", KEYS[2]),
  redis.call("ZCARD", KEYS[3]),
  redis.call("ZCARD", KEYS[4]),
  redis.call("ZCARD", KEYS[5]),
  redis.call("ZCARD", KEYS[6]),
  aggregating,
  due(ARGV[1]),
  redis.call("GET", KEYS[8]),
  type(since) == "string" and since,
  unpack(redis.call("MGET", KEYS[9], KEYS[10], KEYS[11], KEYS[12])),
}
for index = 4, #ARGV do
  reply[index + 11] = due(ARGV[index])
end
return reply
