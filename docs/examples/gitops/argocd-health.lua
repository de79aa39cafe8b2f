-- The health of an ApiKey or a Profile, for Argo CD. It says what kstatus says, which Flux uses: Ready is True, or somebody
-- has to act (Stalled), or it will come by itself.
local function told(condition)
  return (condition.reason or "") .. ": " .. (condition.message or "")
end

local metadata = obj.metadata or {}
local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end

-- A key that is being revoked says which replicas it waits for.
if metadata.deletionTimestamp ~= nil then
  if conditions.Revoking ~= nil then
    return { status = "Progressing", message = told(conditions.Revoking) }
  end
  return { status = "Progressing", message = "Being deleted" }
end

-- A condition of an earlier generation says nothing of what Git wants now.
local ready = conditions.Ready
if ready == nil or (ready.observedGeneration ~= nil and ready.observedGeneration ~= metadata.generation) then
  return { status = "Progressing", message = "Waiting for the controller" }
end

if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return { status = "Degraded", message = told(conditions.Stalled) }
end
if ready.status ~= "True" then
  return { status = "Progressing", message = told(ready) }
end

-- The key works, but whoever mounts its Secret from now on does not find it.
if conditions.SecretAvailable ~= nil and conditions.SecretAvailable.status == "False" then
  return { status = "Healthy", message = told(conditions.SecretAvailable) }
end
return { status = "Healthy", message = told(ready) }
