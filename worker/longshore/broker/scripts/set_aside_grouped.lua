-- Put members of an aggregation set aside that cannot be aggregated: into the archive, where a person can look at them.
--
-- KEYS[1] asynq:{<queue>}:g:<group>:<set id>   zset
-- KEYS[2] asynq:{<queue>}:archived             zset
-- ARGV[1] now                                  Unix seconds
-- ARGV[2] asynq:{<queue>}:t:                   prefix of the tasks' keys
-- ARGV[3…] for each member: id, msg to store ("" to leave it as it is)
--
-- Reply: how many left the set. One without a msg is deleted, as there is nothing to look at. One whose state says that
-- it is elsewhere leaves the set only, and a key of another type in a hash's place stays: it is not ours.
--
-- Atomic so that an id is in one container only. Counters and locks stay as they are: no attempt was made.
redis.call("ZCARD", KEYS[2]) -- fails here, before anything is written, when it is of another type
local count = 0
for i = 3, #ARGV, 2 do
  local id, msg = ARGV[i], ARGV[i + 1]
  if redis.call("ZREM", KEYS[1], id) == 1 then
    count = count + 1
    local key = ARGV[2] .. id
    local fields = redis.pcall("HMGET", key, "state", "msg")
    if not fields.err then
      if not fields[2] then
        redis.call("DEL", key)
      elseif fields[1] == "aggregating" then
        redis.call("ZADD", KEYS[2], ARGV[1], id)
        redis.call("HSET", key, "state", "archived")
        redis.call("HDEL", key, "group")
        if msg ~= "" then
          redis.call("HSET", key, "msg", msg)
        end
      end
    end
  end
end
return count
