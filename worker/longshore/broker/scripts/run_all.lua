-- Let tasks of one state run now, so many at a time.
--
-- KEYS[1] asynq:{<queue>}:<state> or :g:<group>   zset
-- KEYS[2] asynq:{<queue>}:pending                 list
-- KEYS[3] asynq:{<queue>}:groups                  set
-- ARGV[1] limit                                   1 to 1000
-- ARGV[2] state                                   of those tasks
-- ARGV[3] group                                   its name; "" when they are in none
-- ARGV[4] asynq:{<queue>}:t:                      prefix of the tasks' keys
-- ARGV[5] now                                     Unix nanoseconds
--
-- Reply: {ids that left KEYS[1], tasks that are pending now}. An id leaves without more when it has no task, or one that
--        is elsewhere by its own word.
--
-- Atomic so that each task is in one container only, and bounded so that no queue is held up: Asynq's moves all at once.
-- As with run_task.lua, it is recorded since when they wait, and they are of no group any more.
redis.call("LLEN", KEYS[2]) -- both fail here, before anything is written, when they are of another type
redis.call("SCARD", KEYS[3])
local ids = take_members(KEYS[1], ARGV[1])
local pending = {}
for i = 1, #ids do
  local key = ARGV[4] .. ids[i]
  if redis.pcall("HGET", key, "state") == ARGV[2] then
    redis.call("HSET", key, "state", "pending", "pending_since", ARGV[5])
    redis.call("HDEL", key, "group", "progress")
    pending[#pending + 1] = ids[i]
  end
end
if #pending > 0 then
  redis.call("LPUSH", KEYS[2], unpack(pending))
end
if ARGV[3] ~= "" and redis.call("EXISTS", KEYS[1]) == 0 then
  redis.call("SREM", KEYS[3], ARGV[3])
end
return {#ids, #pending}
