-- Delete tasks of one state, so many at a time, and free their locks.
--
-- KEYS[1] asynq:{<queue>}:<state>, :g:<group> or an aggregation set   list or zset
-- KEYS[2] asynq:{<queue>}:groups                                      set
-- ARGV[1] limit                                                       1 to 1000
-- ARGV[2] state                                                       of those tasks
-- ARGV[3] group                                                       its name; "" when they are in none
-- ARGV[4] asynq:{<queue>}:                                            prefix of the queue's keys
--
-- Reply: {ids that left KEYS[1], tasks that were deleted}. An id leaves without more as in run_all.lua.
--
-- Atomic so that no id is without its hash, and bounded for the reason in run_all.lua. Asynq's frees no locks of pending
-- tasks and of those in groups.
redis.call("SCARD", KEYS[2]) -- fails here, before anything is written, when it is of another type
local ids = take_members(KEYS[1], ARGV[1])
local deleted = 0
for i = 1, #ids do
  local key = ARGV[4] .. "t:" .. ids[i]
  local fields = redis.pcall("HMGET", key, "state", "unique_key", "msg")
  if fields[1] == ARGV[2] then
    local lock = lock_of(ARGV[4], fields[2], fields[3])
    if lock and redis.pcall("GET", lock) == ids[i] then
      redis.call("DEL", lock)
    end
    redis.call("DEL", key)
    deleted = deleted + 1
  end
end
if ARGV[3] ~= "" and redis.call("EXISTS", KEYS[1]) == 0 then
  redis.call("SREM", KEYS[2], ARGV[3])
end
return {#ids, deleted}
