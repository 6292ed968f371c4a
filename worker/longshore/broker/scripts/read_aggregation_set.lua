-- Read members of an aggregation set, those that joined first first.
--
-- KEYS[1] asynq:{<queue>}:g:<group>:<set id>   zset
-- ARGV[1] first                                position of the first member wanted, from 0
-- ARGV[2] limit                                1 to 1000
-- ARGV[3] most                                 bytes of msg, after which no further member is read
-- ARGV[4] asynq:{<queue>}:t:                   prefix of the tasks' keys
--
-- Reply: {id, when it joined, state, msg} for each; state and msg are nil where there is no such hash. Empty when no
--        member is left. Nothing is written.
local reply, size = {}, 0
local members = redis.call("ZRANGE", KEYS[1], ARGV[1], ARGV[1] + ARGV[2] - 1, "WITHSCORES")
for i = 1, #members, 2 do
  local fields = redis.pcall("HMGET", ARGV[4] .. members[i], "state", "msg")
  local msg = fields[2] or false -- of a key of another type as well
  reply[#reply + 1] = {members[i], members[i + 1], fields[1] or false, msg}
  size = size + (msg and #msg or 0)
  if size >= tonumber(ARGV[3]) then
    break
  end
end
return reply
