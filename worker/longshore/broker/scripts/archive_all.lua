-- Archive tasks of one state, so many at a time, and trim the archive.
--
-- KEYS[1] asynq:{<queue>}:<state> or :g:<group>   list or zset
-- KEYS[2] asynq:{<queue>}:archived                zset
-- KEYS[3] asynq:{<queue>}:groups                  set
-- KEYS[4] longshore:{<queue>}:archive             hash, the limits of the archive, if it has any of its own
-- ARGV[1] limit                                   1 to 1000
-- ARGV[2] state                                   of those tasks
-- ARGV[3] group                                   its name; "" when they are in none
-- ARGV[4] asynq:{<queue>}:t:                      prefix of the tasks' keys
-- ARGV[5] now                                     Unix seconds
-- ARGV[6] cutoff                                  Unix seconds; what was archived then or before is deleted
-- ARGV[7] size                                    the archive keeps so many tasks, the newest
-- ARGV[8] chunk                                   at most so many are deleted for each of the two reasons
--
-- Reply: {ids that left KEYS[1], tasks that were archived}. An id leaves without more as in run_all.lua.
--
-- Atomic and bounded for the reasons in run_all.lua. msg and counters stay as they are.
redis.call("ZCARD", KEYS[2]) -- both fail here, before anything is written, when they are of another type
redis.call("SCARD", KEYS[3])
local ids = take_members(KEYS[1], ARGV[1])
local archived = {}
for i = 1, #ids do
  local key = ARGV[4] .. ids[i]
  if redis.pcall("HGET", key, "state") == ARGV[2] then
    redis.call("HSET", key, "state", "archived")
    redis.call("HDEL", key, "pending_since")
    archived[#archived + 1] = ARGV[5]
    archived[#archived + 1] = ids[i]
  end
end
if #archived > 0 then
  redis.call("ZADD", KEYS[2], unpack(archived))
end
if ARGV[3] ~= "" and redis.call("EXISTS", KEYS[1]) == 0 then
  redis.call("SREM", KEYS[3], ARGV[3])
end
trim_archive(KEYS[2], ARGV[4], KEYS[4], tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8])
return {#ids, #archived / 2}
