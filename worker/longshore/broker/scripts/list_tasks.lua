-- Read one page of the tasks in a list or a sorted set.
--
-- KEYS[1] asynq:{<queue>}:<state> or :g:<group>   list or zset
-- KEYS[2] asynq:{<queue>}:lease                   zset
-- ARGV[1] first                                   position of the page's first task, from 0
-- ARGV[2] size                                    1 to 1000
-- ARGV[3] asynq:{<queue>}:t:                      prefix of the tasks' keys
-- ARGV[4] now                                     Unix seconds
--
-- Reply: for each task: id, msg or nil, result or nil, score (nil in a list), 1 when its lease has ended or is missing
--        and 0 otherwise (it means something for active tasks only), progress or nil (likewise). Oldest or lowest score
--        first.
--        Nothing is written.
--
-- Atomic so that no task of the page is read after it has moved on.
local first, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local ids, scores = {}, {}
if redis.call("TYPE", KEYS[1]).ok == "list" then
  -- the oldest is at the tail
  local page = redis.call("LRANGE", KEYS[1], -(first + size), -(first + 1))
  for i = #page, 1, -1 do
    ids[#ids + 1] = page[i]
  end
else
  local page = redis.call("ZRANGE", KEYS[1], first, first + size - 1, "WITHSCORES")
  for i = 1, #page, 2 do
    ids[#ids + 1] = page[i]
    scores[#ids] = page[i + 1]
  end
end
local reply = {}
for i = 1, #ids do
  -- a key of another type reads as one without fields: it must not hide the rest of the page
  local fields = redis.pcall("HMGET", ARGV[3] .. ids[i], "msg", "result", "progress")
  local lease = redis.call("ZSCORE", KEYS[2], ids[i])
  reply[#reply + 1] = {
    ids[i],
    fields[1] or false,
    fields[2] or false,
    scores[i] or false,
    (lease and tonumber(lease) > tonumber(ARGV[4])) and 0 or 1,
    fields[3] or false,
  }
end
return reply
