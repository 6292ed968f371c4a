-- Move due tasks from the scheduled or the retry set to where they wait to be taken.
--
-- KEYS[1] asynq:{<queue>}:scheduled or :retry   zset
-- KEYS[2] asynq:{<queue>}:pending               list
-- KEYS[3] asynq:{<queue>}:groups                set
-- ARGV[1] now                                   Unix seconds
-- ARGV[2] now                                   Unix nanoseconds
-- ARGV[3] limit                                 1 to 1000
-- ARGV[4] asynq:{<queue>}:t:                    prefix of the tasks' keys
-- ARGV[5] asynq:{<queue>}:g:                    prefix of the groups' keys
-- ARGV[6] "1" for scheduled: a task with a group joins it; "0" for retry: it has been run by itself
--
-- Reply: how many ids left the set. An id without a hash is dropped, so that it does not keep the others waiting.
--
-- Atomic so that two servers forward a task once. Unlike Asynq's, a task that goes to a group lists the group's name:
-- an aggregator finds groups by that list alone. And one that failed is tried again: Asynq lets it join the group that it
-- was once run out of.
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", ARGV[1], "LIMIT", 0, ARGV[3])
if #ids == 0 then
  return 0
end
redis.call("LLEN", KEYS[2]) -- fails here, before anything is written, when it is of another type
local pending = {}
for i = 1, #ids do
  local id = ids[i]
  local key = ARGV[4] .. id
  local task = redis.pcall("HMGET", key, "state", "group")
  local group = task[2]
  if not task[1] then
    if not task.err then -- a key of another type is not ours to delete
      redis.call("DEL", key)
    end
  elseif group and group ~= "" and ARGV[6] == "1" then
    redis.call("HSET", key, "state", "aggregating")
    redis.call("ZADD", ARGV[5] .. group, ARGV[1], id)
    redis.call("SADD", KEYS[3], group)
  else
    redis.call("HSET", key, "state", "pending", "pending_since", ARGV[2])
    if group then
      redis.call("HDEL", key, "group")
    end
    pending[#pending + 1] = id
  end
end
if #pending > 0 then
  redis.call("LPUSH", KEYS[2], unpack(pending))
end
redis.call("ZREM", KEYS[1], unpack(ids))
return #ids
