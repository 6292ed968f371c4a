-- take_members(key, limit): takes up to limit ids out of a list (from the tail, where the oldest are) or a sorted set
-- (lowest scores first), and gives them in that order.
local function take_members(key, limit)
  local ids = {}
  if redis.call("TYPE", key).ok == "list" then
    local tail = redis.call("LRANGE", key, -tonumber(limit), -1)
    for i = #tail, 1, -1 do
      ids[#ids + 1] = tail[i]
    end
    redis.call("LTRIM", key, 0, -#ids - 1)
  else
    ids = redis.call("ZRANGE", key, 0, limit - 1)
    if #ids > 0 then
      redis.call("ZREM", key, unpack(ids))
    end
  end
  return ids
end
