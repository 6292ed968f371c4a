-- Put active tasks aside that no server can read: into the archive, where a person can look at their bytes.
--
-- KEYS[1] asynq:{<queue>}:active     list
-- KEYS[2] asynq:{<queue>}:lease      zset
-- KEYS[3] asynq:{<queue>}:archived   zset
-- ARGV[1] now                        Unix seconds
-- ARGV[2] asynq:{<queue>}:t:         prefix of the tasks' keys
-- ARGV[3…] ids
--
-- Reply: how many were put aside. One that is no longer active is left alone. One without a msg is deleted instead, as
-- there is nothing to look at; a key of another type in the hash's place stays, as it is not ours. msg and counters stay
-- as they are: no attempt was made.
--
-- Atomic so that an id is in one container only.
redis.call("ZCARD", KEYS[3]) -- fails here, before anything is written, when it is of another type
local count = 0
for i = 3, #ARGV do
  local id = ARGV[i]
  if redis.call("LREM", KEYS[1], 0, id) > 0 then
    redis.call("ZREM", KEYS[2], id)
    local key = ARGV[2] .. id
    local has_msg = redis.pcall("HEXISTS", key, "msg")
    if has_msg == 1 then
      redis.call("ZADD", KEYS[3], ARGV[1], id)
      redis.call("HSET", key, "state", "archived")
    elseif has_msg == 0 then
      redis.call("DEL", key)
    end
    count = count + 1
  end
end
return count
