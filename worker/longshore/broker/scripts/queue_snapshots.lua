-- (with queue_snapshot.lua as a function) Read the depths of several queues, unless they are as the caller knows them.
--
-- For one server only, not for a cluster: the queues lie in any slots, and their keys are made from their prefixes.
--
-- ARGV[1]    digest                            of what the caller knows of these queues; "" for nothing
-- ARGV[2]    now                               Unix seconds
-- ARGV[3]    asynq:{<queue>}:t:                without the queue's prefix
-- ARGV[4]    asynq:{<queue>}:g:                without the queue's prefix
-- ARGV[5]    number of a queue's keys
-- ARGV[6…]   those keys, in queue_snapshot.lua's order, without the queue's prefix
-- then for each queue: its prefix (asynq:{<queue>}:), the number of later moments, and those moments
--
-- Reply: {digest} when it is the caller's; otherwise {digest, and for each queue what queue_snapshot.lua replies, or the
--        types of its keys when one of them is of a wrong type}.
--        Nothing is written.
--
-- A script, because a thousand queues are looked at each second, and most of them have not changed: nothing is sent of
-- those, and nobody has to read it. Each queue's depth is of one moment, as it is by queue_snapshot.lua.
local asked = {}
for index = #ARGV, 1, -1 do
  asked[index], ARGV[index] = ARGV[index], nil
end
local replies, keys, position = {}, tonumber(asked[5]), 6 + tonumber(asked[5])
while position <= #asked do
  local prefix, moments = asked[position], tonumber(asked[position + 1])
  for index = 1, keys do
    KEYS[index] = prefix .. asked[5 + index]
  end
  ARGV[1], ARGV[2], ARGV[3] = asked[2], prefix .. asked[3], prefix .. asked[4]
  for index = 1, math.max(moments, #ARGV - 3) do
    ARGV[3 + index] = index <= moments and asked[position + 1 + index] or nil
  end
  position = position + 2 + moments
  local fine, reply = pcall(queue_snapshot)
  if not fine then
    local problem = type(reply) == "table" and reply.err or tostring(reply)
    if not string.find(problem, "WRONGTYPE", 1, true) then
      return redis.error_reply(problem)
    end
    reply = {}
    for index = 1, keys do
      reply[index] = redis.call("TYPE", KEYS[index]).ok
    end
  end
  replies[#replies + 1] = reply
end
local digest = redis.sha1hex(cmsgpack.pack(replies))
if digest == asked[1] then
  return {digest}
end
table.insert(replies, 1, digest)
return replies
